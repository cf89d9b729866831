import { SupercargoError } from '../model/errors.ts';
import type { AgentContext } from './context.ts';

const healthMilliseconds = 2500;

/** Asks another agent whether it is there. @throws host-unreachable that says since when it was not heard of */
export async function requirePeer(context: AgentContext, host: string, purpose: string): Promise<void> {
  const record = context.view.host(host) ?? context.state.host(host);
  const name = record?.name ?? host;
  if (record === undefined) throw new SupercargoError('host-unreachable', `${purpose}, but the host that has it is not known.`);
  const { client } = context.connectToPeer(record);
  try {
    await client.health({}, { timeoutMilliseconds: healthMilliseconds });
  } catch (error) {
    throw new SupercargoError('host-unreachable', `${purpose}, but ${name} (${record.address}) does not answer.`, {
      hint: `Start ${name} or its agent; the data stays there until it answers.`,
      details: { host: name },
      cause: error,
    });
  }
}
