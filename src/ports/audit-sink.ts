/** One decision about who may use what. Never holds a secret. */
export interface AuditEntry {
  /** By the clock of the name server, RFC 3339. */
  time: string;
  /** The application as PROJECT/NAME as far as it was proved, and the container. */
  who: string;
  /** What it was to get, or what was done to it. */
  what: string;
  verdict: 'allow' | 'deny' | 'end';
  reason: string;
  /** Up to which revision of the name server's records the decision knew of. */
  revision: number;
}

/** Where decisions are kept for those who ask later. Takes them at once and holds nothing up. */
export interface AuditSink {
  record(entry: AuditEntry): void;
}
