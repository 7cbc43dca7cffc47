/** Numbers as the scoreboard, the sentences and the report show them. */
export const ms = (value: number): string => `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
/** `0.70 ms above`, `0.10 ms below`: how a value lies to another. */
export const difference = (value: number, other: number): string => `${ms(Math.abs(value - other))} ${value < other ? 'below' : 'above'}`;
export const percent = (share: number): string => `${(share * 100).toFixed(share > 0.995 && share < 1 ? 2 : 1)}%`;
export const count = (value: number): string => Math.round(value).toLocaleString('en-US');
export const times = (value: number): string => `${value.toFixed(2)}×`;
export const seconds = (milliseconds: number): string => (milliseconds < 0 ? 'never' : `${(milliseconds / 1_000).toFixed(2)} s`);
export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
