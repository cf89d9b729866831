import { z } from 'zod';
import { poolReport, volumeUse } from '../model/records.ts';
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

export const localRoutes = defineRoutes({
  getStatus: { method: 'GET', path: '/v1/local/status', summary: 'The state of this host’s agent.', callers: ['operator'], response: agentStatus },
});
