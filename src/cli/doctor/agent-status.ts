import { formatDuration } from '../../model/duration.ts';
import { formatSize } from '../../model/size.ts';
import type { AgentStatus } from '../../protocol/local-routes.ts';
import { ok, problem, warning } from './finding.ts';
import type { Finding } from './finding.ts';

const hour = 3_600_000;
const warningFill = 0.8;
const problemFill = 0.95;

/** What the agent says of itself. */
export function examineStatus(status: AgentStatus, nowMilliseconds: number): Finding[] {
  return [
    ok(`The agent answers: host ${status.host.name} of cluster ${status.cluster}, version ${status.version}.`),
    examineNameServer(status),
    examineCertificate(status.certificateExpiresAt, nowMilliseconds),
    examinePool(status),
    ...examineVolumes(status),
  ];
}

function examineNameServer({ nameServer }: AgentStatus): Finding {
  if (nameServer.problem !== null) return problem(nameServer.problem, 'Until then this host decides nothing; its containers go on.');
  if (nameServer.connected) return ok(`The name server at ${nameServer.address} answers.`);
  return problem(
    `The name server at ${nameServer.address} does not answer.`,
    'Containers that run go on. Look whether Supercargo runs on that host and whether a firewall is in between.',
  );
}

function examineCertificate(expiresAt: string, nowMilliseconds: number): Finding {
  const left = Date.parse(expiresAt) - nowMilliseconds;
  if (left <= 0)
    return problem(
      `The certificate of this host expired at ${expiresAt}.`,
      'Is the clock right? If so, join the cluster again: supercargo invite, supercargo join',
    );
  const text = `The certificate of this host is valid for ${formatDuration(left)} more.`;
  return left < hour ? warning(text, 'It should have been renewed by itself: look whether the name server answers.') : ok(text);
}

function examinePool({ pool }: AgentStatus): Finding {
  if (pool === null) return problem('There is no pool on this host.', 'Look at the log of the agent.');
  const fill = pool.capacityBytes === 0 ? 1 : pool.usedBytes / pool.capacityBytes;
  const text = `The pool ${pool.location} is ${Math.round(100 * fill)} % full (${formatSize(pool.usedBytes)} of ${formatSize(pool.capacityBytes)}).`;
  const advice = 'Move volumes to other hosts or remove some: supercargo volume ls';
  if (fill >= problemFill) return problem(text, advice);
  return fill >= warningFill ? warning(text, advice) : ok(text);
}

function examineVolumes({ volumes }: AgentStatus): Finding[] {
  const troubled = volumes.filter((volume) => volume.problem !== null);
  if (troubled.length === 0) return [ok(`None of the ${volumes.length} volumes known here has a problem.`)];
  return troubled.map(({ name, problem: words }) => problem(`Volume ${name}: ${words}`, `See: supercargo volume inspect ${name}`));
}
