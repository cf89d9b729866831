import { toSupercargoError } from '../../model/errors.ts';
import type { LocalApi } from '../connection.ts';
import type { CliDependencies } from '../dependencies.ts';
import { examineStatus } from './agent-status.ts';
import { examineDocker, examineMountNamespace, examinePluginSocket } from './engine.ts';
import { problem } from './finding.ts';
import type { Finding } from './finding.ts';
import { examineEncryption, examineKernel, examineRights, examineTools } from './system.ts';

export interface ExamineOptions {
  runDirectory: string;
  pluginSocket: string;
  dockerSocket: string;
  dockerPidFile: string;
  execute: CliDependencies['execute'];
  askAgent: <Result>(work: (agent: LocalApi) => Promise<Result>) => Promise<Result>;
}

/** Looks at everything, whatever else is wrong; nothing is changed. */
export async function examineHost(options: ExamineOptions): Promise<Finding[]> {
  const findings = await Promise.all([
    examineKernel(options.execute),
    examineTools(options.execute),
    examineEncryption(options.execute),
    examineDocker(options.dockerSocket),
    examineAgent(options),
    examinePluginSocket(options.pluginSocket),
    examineMountNamespace(options.runDirectory, options.dockerPidFile),
  ]);
  return [examineRights(process.geteuid?.() ?? 0), ...findings.flat()];
}

async function examineAgent({ askAgent }: ExamineOptions): Promise<Finding[]> {
  try {
    return examineStatus(await askAgent((agent) => agent.getStatus({})), Date.now());
  } catch (error) {
    return [problem(toSupercargoError(error).message, 'Start Supercargo: supercargo up --detach')];
  }
}
