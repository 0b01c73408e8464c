export { Events, type EventHandler } from './events.ts';
export { EventReceiver, type ReceivedEvent, type ReceiveOptions } from './receiver.ts';
export { EventSender, schemeOf } from './sender.ts';
export { ClusterState, ClusterTask, ClusterWorker, type ClusterStateOptions } from './state.ts';
