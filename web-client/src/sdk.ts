// The client's public face: everything the page itself uses, and what other pages may build on. No framework, no dependency.
//
//   const meeting = connect('wss://hop.example/ws', token, { profile: 'laptop' });
//   meeting.on('state', (state) => …);
//   meeting.join('UBND phường Hồng Gai');
export { createMeeting as connect, type Events, type Meeting, type Options } from './driver/meeting';
export { askScreen, canShare, createDevices, isOn, type Choice, type Devices, type DevicesState, type InputKind, type InputState, type Problem } from './driver/devices';
export { playTest, watchLevel } from './driver/meter';
export { socketUrl } from './driver/socket';
export {
  displayName, kindOf, pointOf, sourceOf, type Cause, type ClientStats, type ErrorCode, type Kind, type Point, type Profile, type SlotQuality,
  type Wish,
} from './engine/protocol';
export { type Roster } from './engine/roster';
export { type Failure, type Refusal, type Seat, type SendOrder, type State } from './engine/session';
export { type Figures, type Grade } from './engine/stats';
