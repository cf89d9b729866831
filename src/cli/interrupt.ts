/** Works with a signal that fires when the user looks no longer (Ctrl-C); what goes on elsewhere goes on. */
export async function withInterrupt<Result>(work: (interrupt: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort();
  process.once('SIGINT', interrupt);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', interrupt);
  }
}
