import { readFileSync } from 'node:fs';

/** The kind of pcap's records in which a head of 20 bytes stands in the place of Ethernet's. */
const linuxSll2 = 276;

interface Segment {
  sequence: number;
  payload: Buffer;
}

/**
 * What a record of packets (of testbed/capture.ts) holds, for looking for words in it: each direction of each TCP connection put together as its receiver
 * reads it, so that a word that lay across two packets is found, and all packets as they were, which has whatever is not TCP.
 */
export function readPackets(file: string): Buffer[] {
  const record = readFileSync(file);
  if (record.readUInt32LE(0) !== 0xa1b2c3d4 || record.readUInt32LE(20) !== linuxSll2) throw new Error(`${file} is no record of packets`);
  const flows = new Map<string, Segment[]>();
  for (let at = 24; at + 16 <= record.length;) {
    const length = record.readUInt32LE(at + 8);
    addSegment(flows, record.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return [record, ...[...flows.values()].map(assemble)];
}

function addSegment(flows: Map<string, Segment[]>, frame: Buffer): void {
  const [head, ipv4, tcp] = [20, 0x0800, 6];
  if (frame.length < head + 20 || frame.readUInt16BE(0) !== ipv4 || frame[head + 9] !== tcp) return;
  const packet = frame.subarray(head, head + frame.readUInt16BE(head + 2));
  const segment = packet.subarray((packet[0]! & 15) * 4);
  const payload = segment.subarray((segment[12]! >> 4) * 4);
  if (payload.length === 0) return;
  const flow = Buffer.concat([packet.subarray(12, 20), segment.subarray(0, 4)]).toString('hex');
  const segments = flows.get(flow) ?? [];
  segments.push({ sequence: segment.readUInt32BE(4), payload });
  flows.set(flow, segments);
}

/** In the order of the sequence numbers, which begin anywhere and may wrap; what was sent again counts once. */
function assemble(segments: Segment[]): Buffer {
  const first = segments[0]!.sequence;
  const placed = segments.map(({ sequence, payload }) => ({ from: (sequence - first) | 0, payload })).toSorted((a, b) => a.from - b.from);
  const parts: Buffer[] = [];
  let end = placed[0]!.from;
  for (const { from, payload } of placed) {
    const fresh = payload.subarray(Math.max(0, end - from));
    parts.push(fresh);
    end = Math.max(end, from + payload.length);
  }
  return Buffer.concat(parts);
}
