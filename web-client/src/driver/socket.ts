// The WebSocket, and nothing else: text in, text out, one close. After `close` no event of it is heard any more.
import { stayAwayMs } from '../engine/retry';

export interface Socket {
  send(text: string): void;
  close(code: number): void;
}

export interface SocketEvents {
  opened(): void;
  text(frame: string): void;
  /** `stayAway`: milliseconds that the server wants no new try, if it refused the socket and said so. */
  closed(code: number, stayAway: number): void;
}

export function openSocket(url: string, events: SocketEvents): Socket {
  let heard = true;
  let opened = false;
  const socket = new WebSocket(url);
  socket.onopen = () => {
    opened = true;
    if (heard) events.opened();
  };
  socket.onmessage = (event: MessageEvent<unknown>) => {
    if (heard && typeof event.data === 'string') events.text(event.data);
  };
  socket.onclose = (event) => {
    const { code } = event;
    const end = (stayAway: number): void => {
      if (!heard) return;
      heard = false;
      events.closed(code, stayAway);
    };
    if (opened) end(0);
    else void refusal(url).then(end);
  };
  return {
    send(text) {
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
    },
    close(code) {
      heard = false;
      socket.close(code);
    },
  };
}

/** Why a socket was not opened no browser tells; the server says it to whoever asks. Milliseconds to stay away. */
async function refusal(url: string): Promise<number> {
  try {
    const answer = await fetch(new URL('/api/v1/admission', url.replace(/^ws/, 'http')), {
      cache: 'no-store', signal: AbortSignal.timeout(REFUSAL_MS),
    });
    const refused = answer.status === 429 || answer.status === 503;
    return refused ? stayAwayMs(answer.headers.get('Retry-After'), Date.now()) : 0;
  } catch {
    return 0; // no network, no server: nothing was said
  }
}

// Longer is no use: the page tries again by itself.
const REFUSAL_MS = 2_000;

/** The address of the WebSocket beside a page. */
export function socketUrl(page: Location): string {
  return `${page.protocol === 'https:' ? 'wss:' : 'ws:'}//${page.host}/ws`;
}
