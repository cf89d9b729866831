import { z } from 'zod';
import { byteCount, poolReport, volumeUse } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** What the agent tells root on its own host, by the local socket; everything else there goes on to the name server. */
export const agentStatus = z.object({
  cluster: z.string(),
  host: z.object({ id: z.string(), name: z.string(), address: z.string() }),
  version: z.string(),
  nameServer: z.object({ address: z.string(), connected: z.boolean(), problem: z.string().nullable() }),
  certificateExpiresAt: z.string(),
  pool: poolReport.nullable(),
  volumes: z.array(
    z.object({
      name: z.string(),
      id: z.string(),
      live: z.string(),
      mounted: z.boolean(),
      references: z.int(),
      grant: z.string().nullable(),
      uses: z.array(volumeUse),
      problem: z.string().nullable(),
    }),
  ),
});
export type AgentStatus = z.infer<typeof agentStatus>;

export const snapshotDifference = z.object({
  changes: z.array(
    z.object({ path: z.string(), change: z.enum(['added', 'changed', 'removed', 'renamed']), bytes: byteCount, from: z.string().optional() }),
  ),
  total: z.int().describe('How many there are; at most the first 10,000 are listed.'),
  bytes: byteCount.describe('Of all of them.'),
});
export type SnapshotDifference = z.infer<typeof snapshotDifference>;

export const localRoutes = defineRoutes({
  diffSnapshots: {
    method: 'GET',
    path: '/v1/local/difference',
    summary: 'What has changed in a volume from one snapshot to another, both of which this host has.',
    callers: ['operator'],
    query: z.object({ volume: z.string().max(256), from: z.string().max(256), to: z.string().max(256) }),
    response: snapshotDifference,
  },
  getStatus: { method: 'GET', path: '/v1/local/status', summary: 'The state of this host’s agent.', callers: ['operator'], response: agentStatus },
});
