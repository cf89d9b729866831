import { styleText } from 'node:util';
import type { SupercargoError } from '../model/errors.ts';
import { formatDetails, formatTable, printable } from './format.ts';

/** The part of a stream that a command writes to; `process.stdout` is one. */
export interface OutputStream {
  write(text: string): unknown;
  isTTY?: boolean;
  on?(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * Where a command's words go. Standard output carries the result alone: text for people, or with `--json` one document (JSON lines for what
 * has no end). Everything else, errors and progress, goes to standard error; with `--json` an error is one line with a problem document.
 */
export class Output {
  json = false;
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #redraws: boolean;
  #transient = false;

  constructor(stdout: OutputStream, stderr: OutputStream, environment: NodeJS.ProcessEnv) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#redraws = stderr.isTTY === true && environment['TERM'] !== 'dumb';
  }

  /** Whether progress may be drawn over the line before. */
  get redraws(): boolean {
    return this.#redraws && !this.json;
  }

  /** The result: the value for programs or its description for people. */
  result(value: unknown, describe: () => readonly string[]): void {
    for (const line of this.json ? [JSON.stringify(value, null, 2)] : describe()) this.line(line);
  }

  /** One element of a result that has no end. */
  item(value: unknown, describe: () => string): void {
    this.line(this.json ? JSON.stringify(value) : describe());
  }

  table(value: readonly unknown[], head: readonly string[], rows: readonly (readonly string[])[]): void {
    this.result(value, () => formatTable(head, rows));
  }

  details(value: unknown, details: readonly (readonly [string, string])[]): void {
    this.result(value, () => formatDetails(details));
  }

  line(text: string): void {
    this.#stdout.write(`${text}\n`);
  }

  /** A remark beside the result. */
  note(text: string): void {
    this.#clearTransient();
    this.#stderr.write(`${text}\n`);
  }

  /** A question, whose answer is typed behind it. */
  question(text: string): void {
    this.#clearTransient();
    this.#stderr.write(`${text} `);
  }

  /** A line that the next one replaces; only where `redraws`. */
  transient(text: string): void {
    this.#stderr.write(`\r\u001b[2K${text}`);
    this.#transient = true;
  }

  error(error: SupercargoError, problem: () => unknown): void {
    if (this.json) return this.note(JSON.stringify(problem()));
    this.note(`${this.#styled('red', 'error:')} ${printable(error.message)}`);
    if (error.hint !== undefined) this.note(`${this.#styled('cyan', 'hint:')} ${printable(error.hint)}`);
  }

  /** A word in colour if standard output is a terminal that wants colours. */
  coloured(colour: 'red' | 'green' | 'yellow', text: string): string {
    return this.#stdout === process.stdout ? styleText(colour, text, { stream: process.stdout }) : text;
  }

  #styled(colour: 'red' | 'cyan', text: string): string {
    return this.#stderr === process.stderr ? styleText(colour, text, { stream: process.stderr }) : text;
  }

  #clearTransient(): void {
    if (!this.#transient) return;
    this.#stderr.write('\r\u001b[2K');
    this.#transient = false;
  }
}
