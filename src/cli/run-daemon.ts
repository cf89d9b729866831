import { toSupercargoError } from '../model/errors.ts';
import type { Cli } from './cli.ts';
import type { ReadySummary, UpOptions } from './dependencies.ts';
import { isDetachedChild, reporterToParent } from './detach.ts';
import { writePidFile } from './pid-file.ts';

/** Runs the daemon in this process until a signal ends it. A second signal ends it at once. */
export async function runDaemon({ dependencies }: Cli, options: UpOptions, describeReady: (summary: ReadySummary) => void): Promise<void> {
  // A daemon must not keep the directory busy in which somebody happened to start it; its own paths are absolute.
  if (isDetachedChild(dependencies.environment)) process.chdir('/');
  const parent = reporterToParent(dependencies.environment);
  const ending = new AbortController();
  const end = (signal: NodeJS.Signals): void => {
    if (ending.signal.aborted) process.exit(1);
    ending.abort(new Error(`received ${signal}`));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  try {
    const removePidFile = await writePidFile(options.runDirectory);
    try {
      const ready = (summary: ReadySummary): void => {
        parent.ready(summary);
        describeReady(summary);
      };
      await dependencies.up(options, ready, ending.signal);
    } finally {
      await removePidFile();
    }
  } catch (error) {
    parent.failed(toSupercargoError(error));
    throw error;
  } finally {
    process.off('SIGTERM', end);
    process.off('SIGINT', end);
  }
}
