// Runs a session: feeds the engine with what happens and does what it answers. The socket, the connection, the elements and the timers
// meet here and nowhere else.
import { decode, encode, type ClientMessage, type ClientStats, type Kind, type Profile, type SlotQuality, type VideoRules, type Wish } from '../engine/protocol';
import { EMPTY_ROSTER, type Roster } from '../engine/roster';
import { deadline, handle, newSession, stateOf, type Effect, type Input, type Refusal, type Seat, type SendOrder, type State, type Told } from '../engine/session';
import type { Figures } from '../engine/stats';
import { canEase, ease, look, newViewRequest, poll, want } from '../engine/view-request';
import { takesRed } from './codecs';
import { createConnection, type Connection } from './connection';
import { createElements } from './elements';
import { createNaming } from './naming';
import { seenNow, watchPage } from './page';
import { openSocket, type Socket } from './socket';
import { watchStats } from './stats';

/** Everything a page can hear of a meeting. */
export interface Events {
  state: State;
  roster: { roster: Roster; change: Extract<Told, { tell: 'roster' }>['change'] };
  /** The slot now paints frames of this source; null: empty, or nobody can say whose. */
  painted: { slot: string; source: number | null };
  speaker: number | null;
  /** Who has the floor. */
  floor: number | null;
  /** Something that the person asked for did not happen. */
  refused: Refusal;
  figures: Figures;
  /** What this page told the server of itself. */
  stats: ClientStats;
  /** What all slots get that have something wanted in them. */
  quality: readonly SlotQuality[];
  /** What this page is to send; null: as it was made. */
  order: SendOrder | null;
  /** The browser waits for a touch of the page before it plays sound. */
  blocked: boolean;
}

export interface Options {
  profile: Profile;
  /** The seat that an earlier page of this tab kept; the meeting is then entered at once. */
  seat?: Seat | null;
  /** Told the seat to keep for a reload, and null when there is none any more. */
  keep?: (seat: Seat | null) => void;
}

export interface Meeting {
  readonly state: State;
  readonly roster: Roster;
  on<E extends keyof Events>(event: E, hear: (value: Events[E]) => void): () => void;
  join(name: string): void;
  leave(): void;
  /** After `left` or `failed`: back to the first page with the same token. */
  again(): void;
  /** Sends this track as one of our sources; null sends nothing. Tells the room. */
  send(kind: Kind, track: MediaStreamTrack | null): void;
  /** The pictures wanted; `turned` when a person waits for them. */
  view(wishes: readonly Wish[], turned: boolean): void;
  /** The element that shows a video slot; `park` gives it back. */
  video(slot: string): HTMLVideoElement | null;
  park(slot: string): void;
  /** For chair and secretary: gives the floor to a point, or with null takes it. */
  giveFloor(number: number | null): void;
  setOutput(deviceId: string): void;
  resumeSound(): void;
  /** The source that a slot paints now. */
  painted(slot: string): number | null;
  /** What the slot painted counts no more; its next frame says anew whose it is. */
  forget(slot: string): void;
  readonly pc: RTCPeerConnection | null;
  /** Frames that were not messages of the protocol. */
  readonly undecoded: number;
  /** Lets everything go without giving up the seat. */
  close(): void;
}

export function createMeeting(url: string, token: string, options: Options): Meeting {
  const session = newSession(Math.random);
  const listeners = new Map<keyof Events, Set<(value: never) => void>>();
  const tracks = new Map<Kind, MediaStreamTrack>();
  const view = newViewRequest(seenNow());
  const inputs: Input[] = [];
  let running = false;
  let socket: Socket | null = null;
  let connection: Connection | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let viewTimer: ReturnType<typeof setTimeout> | undefined;
  let roster = EMPTY_ROSTER;
  let undecoded = 0;

  const emit = <E extends keyof Events>(event: E, value: Events[E]): void => {
    for (const hear of listeners.get(event) ?? []) (hear as (value: Events[E]) => void)(value);
  };
  const elements = createElements(options.profile, (blocked) => emit('blocked', blocked));
  const naming = createNaming(elements, (slot) => connection?.receivers.get(slot), (slot, source) => emit('painted', { slot, source }));
  const clock = (): number => performance.now();

  function step(input: Input): void {
    inputs.push(input);
    if (running) return;
    running = true;
    try {
      for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
        for (const effect of handle(session, clock(), next)) run(effect);
      }
    } finally {
      running = false; // an exception of a listener or of the browser must not silence the session for ever
    }
    clearTimeout(timer);
    const due = deadline(session, clock());
    if (due !== null) timer = setTimeout(() => step({ on: 'time' }), Math.max(0, due - clock()) + 1);
  }

  function run(effect: Effect): void {
    switch (effect.do) {
      case 'open':
        socket = openSocket(url, {
          opened: () => step({ on: 'opened' }),
          text: (frame) => {
            const message = decode(frame);
            if (message.ok) step({ on: 'message', message: message.value });
            else undecoded += 1;
          },
          closed: (code, stayAway) => step({ on: 'closed', code, stayAway }),
        });
        return;
      case 'close':
        socket?.close(effect.code);
        socket = null;
        return;
      case 'send':
        return send(effect.message);
      case 'connect':
        return connect(effect.connection, effect.video);
      case 'accept':
        return accept(effect);
      case 'restart':
        return attempt(effect.connection, async (c) => {
          step({ on: 'restart_offer', connection: effect.connection, sdp: await c.restart() });
        });
      case 'take_back':
        return attempt(effect.connection, (c) => c.takeBack());
      case 'order':
        connection?.order(effect.order);
        return;
      case 'disconnect':
        connection?.close();
        connection = null;
        naming.clear();
        return;
      case 'keep':
        options.keep?.(effect.seat);
        return;
      case 'tell':
        return tell(effect.event);
      default: {
        const _: never = effect;
        return _;
      }
    }
  }

  function send(message: ClientMessage): void {
    socket?.send(encode(message));
  }

  function connect(id: number, video: VideoRules): void {
    connection?.close();
    connection = null;
    try {
      connection = createConnection(options.profile, video, tracks, (state) => step({ on: 'media', connection: id, state }));
    } catch {
      return step({ on: 'broken', connection: id }); // forbidden, or too many connections: tried again later
    }
    attempt(id, async (c) => {
      const offer = await c.offer();
      step({ on: 'offer', connection: id, ...offer });
    });
  }

  function accept({ connection: id, answer, slots }: Extract<Effect, { do: 'accept' }>): void {
    attempt(id, async (c) => {
      await c.accept(answer, slots);
      if (slots !== null && c === connection) elements.play(c.receivers);
    });
  }

  /** Whatever the browser refuses here, the engine makes a new connection of it. */
  function attempt(id: number, work: (c: Connection) => Promise<void>): void {
    const c = connection;
    if (c === null) return;
    work(c).catch(() => {
      if (c === connection) step({ on: 'broken', connection: id });
    });
  }

  function tell(event: Told): void {
    switch (event.tell) {
      case 'state':
        return emit('state', event.state);
      case 'roster':
        roster = event.roster;
        return emit('roster', { roster, change: event.change });
      case 'speaker':
        return emit('speaker', event.number);
      case 'floor':
        return emit('floor', event.number);
      case 'refused':
        return emit('refused', event.refusal);
      case 'slots':
        return naming.said(event.changes, event.reset);
      case 'quality':
        return emit('quality', event.slots);
      case 'order':
        return emit('order', event.order);
      default: {
        const _: never = event;
        return _;
      }
    }
  }

  function flushView(): void {
    clearTimeout(viewTimer);
    const slots = poll(view, clock());
    if (slots !== null) step({ on: 'view', slots });
    if (view.dueAt !== null) viewTimer = setTimeout(flushView, Math.max(0, view.dueAt - clock()) + 1);
  }

  const redundant = takesRed();
  const stops = [
    naming.stop,
    watchStats(
      () => connection,
      () => ({ occupied: naming.occupied(), cores: navigator.hardwareConcurrency ?? 1, canEase: canEase(view), takesRed: redundant }),
      ({ figures, stats, eased, voiceBufferMs }) => {
        emit('figures', figures);
        emit('stats', stats);
        connection?.setVoiceBuffer(voiceBufferMs);
        ease(view, clock(), eased);
        flushView();
        step({ on: 'stats', stats });
      },
    ),
    watchPage({
      seen(seen) {
        look(view, clock(), seen);
        flushView();
        if (seen === 'all') step({ on: 'network' });
      },
      online: () => step({ on: 'network' }),
    }),
  ];

  step({ on: 'start', token, seat: options.seat ?? null, profile: options.profile });

  return {
    get state() {
      return stateOf(session, clock());
    },
    get roster() {
      return roster;
    },
    get pc() {
      return connection?.pc ?? null;
    },
    get undecoded() {
      return undecoded;
    },
    on(event, hear) {
      const set = listeners.get(event) ?? new Set();
      listeners.set(event, set.add(hear as (value: never) => void));
      return () => void set.delete(hear as (value: never) => void);
    },
    join: (name) => step({ on: 'join', name, profile: options.profile }),
    leave: () => step({ on: 'leave' }),
    again: () => step({ on: 'again' }),
    send(kind, track) {
      if (track === null) tracks.delete(kind);
      else tracks.set(kind, track);
      connection?.setTrack(kind, track);
      step({ on: 'publish', source: kind, live: track !== null });
    },
    view(wishes, turned) {
      want(view, clock(), wishes, turned);
      flushView();
    },
    video: (slot) => elements.video(slot),
    park: (slot) => elements.park(slot),
    giveFloor: (number) => step({ on: 'floor', number }),
    setOutput: (deviceId) => elements.setOutput(deviceId),
    resumeSound: () => elements.resume(),
    painted: naming.painted,
    forget: naming.forget,
    close() {
      for (const stop of stops) stop();
      clearTimeout(timer);
      clearTimeout(viewTimer);
      socket?.close(1000);
      connection?.close();
      elements.remove();
    },
  };
}
