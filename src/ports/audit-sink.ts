import type { AuditDecision } from '../model/audit.ts';

/** Where a host's decisions about who may do what are put down. */
export interface AuditSink {
  /** On this host's disk when it resolves; the name server hears of it when it can. Never holds a secret. */
  note(decision: AuditDecision): Promise<void>;
}
