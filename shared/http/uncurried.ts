/**
 * A method as a function whose first argument is what it is called on. V8 sees through this one at compile time, which it does not through
 * `method.call(…)` of a method that it does not know to be always the same: then a native method costs a detour.
 */
export function uncurried<This, Arguments extends unknown[], Result>(method: (this: This, ...rest: Arguments) => Result): (on: This, ...rest: Arguments) => Result {
  return Function.prototype.call.bind(method) as (on: This, ...rest: Arguments) => Result;
}
