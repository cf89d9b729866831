import type { Volume } from '../model/records.ts';
import type { AgentContext } from './context.ts';

/**
 * Waits until the view has what was recorded about a volume: with an older view the plan would take a snapshot for one that was never recorded, and tidy it up.
 * Without the name server nothing is planned, and afterwards the view is new.
 */
export async function recordedOrOver(view: AgentContext['view'], before: Volume, isRecorded: (now: Volume) => boolean): Promise<void> {
  const isOver = (): boolean => {
    const now = view.volume(before.id);
    return !view.synced || now === null || now.epoch !== before.epoch || isRecorded(now);
  };
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (!isOver()) return;
      stopListening();
      resolve();
    };
    const stopListening = view.onChange(look);
    look();
  });
}
