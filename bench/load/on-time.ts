/** What an open loop may be behind its times (ms): the millisecond of its timer, and as long again for what else its thread does in between. */
export const onTimeMs = 2;
