import type { AuditDecision } from '../model/audit.ts';

/** Where a host's decisions about who may do what are put down. */
export interface AuditSink {
  /** Takes the decision at once and holds nothing up; it is soon on this host's disk, and the name server hears of it when it can. Never holds a secret. */
  record(decision: Omit<AuditDecision, 'times'>): void;
}
