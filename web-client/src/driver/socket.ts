// The WebSocket, and nothing else: text in, text out, one close. After `close` no event of it is heard any more.

export interface Socket {
  send(text: string): void;
  close(code: number): void;
}

export interface SocketEvents {
  opened(): void;
  text(frame: string): void;
  closed(code: number): void;
}

export function openSocket(url: string, events: SocketEvents): Socket {
  let heard = true;
  const socket = new WebSocket(url);
  socket.onopen = () => heard && events.opened();
  socket.onmessage = (event: MessageEvent<unknown>) => {
    if (heard && typeof event.data === 'string') events.text(event.data);
  };
  socket.onclose = (event) => {
    if (!heard) return;
    heard = false;
    events.closed(event.code);
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

/** The address of the WebSocket beside a page. */
export function socketUrl(page: Location): string {
  return `${page.protocol === 'https:' ? 'wss:' : 'ws:'}//${page.host}/ws`;
}
