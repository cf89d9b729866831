/** What one look at the host came to. */
export interface Finding {
  level: 'ok' | 'warning' | 'problem';
  /** What was seen, as a sentence. */
  text: string;
  /** What to do; null if nothing. */
  advice: string | null;
}

export function ok(text: string): Finding {
  return { level: 'ok', text, advice: null };
}

export function warning(text: string, advice: string): Finding {
  return { level: 'warning', text, advice };
}

export function problem(text: string, advice: string): Finding {
  return { level: 'problem', text, advice };
}
