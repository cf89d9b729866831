import { SupercargoError } from '../model/errors.ts';
import type { AgentContext, TransferTicket } from './context.ts';
import type { UsedTicket } from './local-state.ts';

/**
 * The source's memory of tickets. The first use of one begins a session, of whoever showed it: rounds and resumed streams go on in it, under the same
 * certificate only. It ends when another ticket for the same purpose is shown. Kept on disk until the ticket runs out, so that no restart opens one again.
 */
export class TicketSessions {
  readonly #context: Pick<AgentContext, 'state' | 'view' | 'clock'>;

  constructor(context: Pick<AgentContext, 'state' | 'view' | 'clock'>) {
    this.#context = context;
  }

  /**
   * Begins the session of the ticket, or finds that it goes on.
   * @param certificate serial number of the certificate that it was shown with
   * @throws forbidden if it was used up, or by somebody else; host-unreachable if nothing new may begin now
   */
  async admit(ticket: TransferTicket, certificate: string): Promise<void> {
    const { state, view, clock } = this.#context;
    const known = state.usedTicket(ticket.id);
    if (known !== undefined) return requireSession(known, certificate);
    // Who was denied during an absence of the name server is not known before it is heard again.
    if (!view.synced) throw new SupercargoError('host-unreachable', 'The source does not hear the name server now.', { hint: 'It is asked again.' });
    const purpose = `${ticket.move} ${ticket.destination}`;
    await state.useTicket(ticket.id, { purpose, certificate, expires: ticket.expires, isOver: false }, clock.wallMilliseconds());
  }
}

function requireSession(known: UsedTicket, certificate: string): void {
  if (known.isOver) throw refused('another has taken its place');
  if (known.certificate !== certificate) throw refused('it was used under another certificate');
}

function refused(reason: string): SupercargoError {
  return new SupercargoError('forbidden', `The ticket for the transfer is refused: ${reason}.`, { hint: 'Ask the name server for a new ticket.' });
}
