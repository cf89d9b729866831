/** Everything that can be said about the project without root and within seconds; what fails is printed in full, the rest in a line. */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { text } from 'node:stream/consumers';
import { checkExports } from './check-exports.ts';
import { checkLayers } from './check-layers.ts';
import { checkTidy } from './check-tidy.ts';
import { errorsDocument } from './errors-doc.ts';
import { formatFindings } from './finding.ts';
import type { Finding } from './finding.ts';
import { checkGenerated } from './generated-file.ts';
import { openApiDocument } from './openapi-doc.ts';
import { listFiles, projectFolder, reader } from './project.ts';

export interface Check {
  name: string;
  /** Resolves to what is wrong, for people; empty if nothing is. */
  run: () => Promise<string>;
}

/** A program of node_modules/.bin that is content if it exits with 0. */
export function programCheck(name: string, program: string, ...parameters: string[]): Check {
  return {
    name,
    run: async () => {
      const child = spawn(program, parameters, { cwd: projectFolder, stdio: ['ignore', 'pipe', 'pipe'] });
      const exit = new Promise<string>((resolve) => {
        child.once('error', (error) => resolve(`${program} did not start: ${error.message}`));
        child.once('close', (code, signal) => resolve(code === 0 ? '' : `${program} ended with ${code ?? signal}`));
      });
      const [output, errors, fault] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
      return fault === '' ? '' : `${output}${errors}${fault}\n`;
    },
  };
}

/** A check of this folder, which runs in this process. */
export function findingsCheck(name: string, find: () => Finding[] | Promise<Finding[]>): Check {
  return { name, run: async () => formatFindings(await find()) };
}

/** All checks but the unit tests, the longest first. */
export function staticChecks(): Check[] {
  const read = reader(projectFolder);
  return [
    programCheck('lint', 'oxlint', '--quiet', '--format', 'unix'),
    programCheck('types', 'tsc', '--noEmit', '--project', '.'),
    programCheck('format', 'oxfmt', '--check'),
    findingsCheck('layers', () => checkLayers(listFiles(projectFolder), read)),
    findingsCheck('exports', () => checkExports(listFiles(projectFolder), read)),
    findingsCheck('tidy', () => checkTidy(listFiles(projectFolder), read)),
    findingsCheck('errors document', () => checkGenerated(errorsDocument)),
    findingsCheck('OpenAPI document', () => checkGenerated(openApiDocument)),
  ];
}

/** Runs the checks, as many at a time as there are processors. Resolves to the names of those that failed. */
export async function runChecks(checks: readonly Check[], print: (text: string) => void): Promise<string[]> {
  const waiting = [...checks];
  const failed: string[] = [];
  const worker = async (): Promise<void> => {
    for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
      const start = performance.now();
      const wrong = await check.run().catch((error: unknown) => `${error instanceof Error ? error.stack : String(error)}\n`);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      if (wrong !== '') failed.push(check.name);
      print(
        wrong === '' ? `ok      ${check.name} (${seconds} s)\n` : `FAILED  ${check.name} (${seconds} s)\n${wrong.replaceAll(/^(?=.)/gm, '        ')}`,
      );
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return failed;
}

if (import.meta.main) {
  const checks = [programCheck('unit tests', 'vitest', 'run', '--project', 'unit', '--reporter', 'dot'), ...staticChecks()];
  const failed = await runChecks(checks, (line) => process.stdout.write(line));
  process.stdout.write(failed.length === 0 ? 'All checks passed.\n' : `Failed: ${failed.join(', ')}\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}
