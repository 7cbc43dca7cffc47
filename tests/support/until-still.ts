/** The figure that `read` gives once it is above zero and stays the same: nothing tells that nothing moves any more, so it is looked at. */
export async function untilStill(read: () => number): Promise<number> {
  for (let last = read(); ; last = read()) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (last > 0 && read() === last) return last;
  }
}
