// What the node knows of the points of a test's room.

/** The report of the room's points, by number; nothing while there is none. */
export async function pointsOf(server) {
  const room = /\/p\/([a-z0-9-]+)/.exec(server.join_url)[1];
  const report = await fetch(server.metrics.replace('/metrics', `/debug/rooms/${room}`)).then((r) => r.json()).catch(() => null);
  return report?.points ?? [];
}
