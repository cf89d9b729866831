import { beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { issueCheckpoint, readCheckpoint } from './checkpoint.ts';
import type { CheckpointClaims } from './checkpoint.ts';
import type { Credentials } from './credentials.ts';
import { createTestCluster } from './test-cluster.ts';
import type { TestCluster } from './test-cluster.ts';
import { issueTicket } from './ticket.ts';

let clock: ManualClock;
let cluster: TestCluster;
let nameServer: Credentials;
let claims: CheckpointClaims;

beforeAll(async () => {
  clock = new ManualClock();
  cluster = await createTestCluster(clock);
  nameServer = await cluster.credentialsFor(cluster.nameServer);
  claims = { sequence: 12, digest: 'ab'.repeat(32), at: new Date(clock.wallMilliseconds()).toISOString() };
});

describe('a checkpoint of the audit log', () => {
  it('counts for ever, although the certificate that signed it lives for a day', async () => {
    const statement = await issueCheckpoint(nameServer, claims);
    expect(await readCheckpoint(statement, nameServer.authorities, claims.at)).toEqual(claims);
  });

  it('counts for the time that it names only', async () => {
    const statement = await issueCheckpoint(nameServer, claims);
    const later = new Date(clock.wallMilliseconds() + 1000).toISOString();
    await expect(readCheckpoint(statement, nameServer.authorities, later)).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('is refused from before or after the life of the certificate', async () => {
    for (const years of [-1, 1]) {
      const at = new Date(clock.wallMilliseconds() + years * 365 * 86_400_000).toISOString();
      const statement = await issueCheckpoint(nameServer, { ...claims, at });
      await expect(readCheckpoint(statement, nameServer.authorities, at)).rejects.toMatchObject({ code: 'forbidden' });
    }
  });

  it('is refused from a host, from another cluster, and as a ticket', async () => {
    const foreign = await createTestCluster(clock);
    const signers = [await cluster.credentialsFor(cluster.newHost()), await foreign.credentialsFor(foreign.nameServer)];
    const statements = await Promise.all(signers.map((signer) => issueCheckpoint(signer, claims)));
    const [source, destination] = [newIdentifier('hst'), newIdentifier('hst')];
    const ticket = {
      id: newIdentifier('tkt'),
      move: newIdentifier('mov'),
      volume: newIdentifier('vol'),
      epoch: 1,
      source,
      destination,
      expires: clock.wallMilliseconds(),
    };
    for (const statement of [...statements, await issueTicket(nameServer, ticket)]) {
      await expect(readCheckpoint(statement, nameServer.authorities, claims.at)).rejects.toMatchObject({ code: 'forbidden' });
    }
  });
});
