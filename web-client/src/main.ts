// The page: reads the link, makes the meeting and its store, shows the app. `/p/{room}#k={token}`; the token stays in the fragment and in
// this tab, so that no server log and no other site ever sees it.
import './styles/tokens.css';
import './styles/base.css';
import { mount } from 'svelte';
import { loadTab } from './driver/storage';
import { openTab } from './driver/tab';
import { startLanguage } from './i18n/index.svelte';
import { connect, socketUrl, type Profile } from './sdk';
import { createStore, type Store } from './store.svelte';
import { startTheme } from './styles/theme.svelte';
import App from './view/App.svelte';

startLanguage(location.search);
startTheme(location.search);
// A new link pasted over this one differs in its fragment only, which loads nothing by itself.
addEventListener('hashchange', () => location.reload());

const store = open();
const target = document.getElementById('app');
if (target !== null) mount(App, { target, props: { store, problem: store === null ? problem() : null } });

function open(): Store | null {
  if (problem() !== null) return null;
  const room = roomOf(location);
  const token = tokenOf(location) ?? loadTab(room)?.token ?? '';
  const tab = openTab(room, token);
  const profile: Profile = Math.min(screen.width, screen.height) < 600 ? 'phone' : 'laptop';
  const meeting = connect(socketUrl(location), token, {
    profile,
    seat: tab.seat,
    keep: tab.keep,
  });
  const opened = createStore(meeting, profile, tab);
  expose(opened);
  return opened;
}

function problem(): 'no_token' | 'unsupported' | null {
  const able = 'RTCPeerConnection' in window && 'WebSocket' in window && 'addTransceiver' in RTCPeerConnection.prototype;
  if (!able) return 'unsupported';
  return tokenOf(location) === null && loadTab(roomOf(location)) === null ? 'no_token' : null;
}

function roomOf({ pathname }: Location): string {
  return /^\/p\/([a-z0-9-]{1,64})\/?$/.exec(pathname)?.[1] ?? '';
}

function tokenOf({ hash }: Location): string | null {
  const token = new URLSearchParams(hash.slice(1)).get('k');
  return token === null || token === '' ? null : token;
}

/**
 * `window.diemcau`: a look inside for support and tests. Read-only, not an interface to build on: it holds no token, and may change with
 * any release.
 */
function expose(opened: Store): void {
  const handle = {
    /** `phase` is the session's state (`idle`, `connecting`, `ready`, `joining`, `in`, `reconnecting`, `left`, `failed`). */
    get state() {
      const { at: phase } = opened.meeting.state;
      return { phase, number: opened.number, points: [...opened.points.values()] };
    },
    /** Each video slot: the source of the frame it paints now, and that source's name. */
    get slots() { return opened.slots(); },
    /** The number of the point that has the floor, or null. */
    get floor() { return opened.floor; },
    /** The last second's figures, or null. */
    get figures() { return opened.figures; },
    /** What each slot gets and why it is not more, as the server said last. */
    get quality() { return [...opened.quality.values()]; },
    /** What this page is to send, as the server said last; null: nothing was said yet. */
    get order() { return opened.sendOrder; },
    /** What this page told the server of itself a second ago, or null. */
    get stats() { return opened.stats; },
    /** Server frames that could not be read. */
    get undecoded() { return opened.meeting.undecoded; },
    /** The connection of the moment, for `getStats`. */
    get pc() { return opened.meeting.pc; },
  };
  Object.defineProperty(window, 'diemcau', { value: Object.freeze(handle) });
}
