/** The first byte of everything in a value's notes; see `src/values/mod.rs`. */
export enum Token {
  Null,
  True,
  False,
  Integer,
  Double,
  Text,
  Units,
  Json,
  Array,
  Object,
  Extended,
  Message,
  Marked,
  Apart,
  ApartUnits,
  Letters,
  Texts,
  Words,
}

/** How the values of one key are noted in the objects of a shape; see there. */
export enum Kind {
  Any,
  Text,
  Integer,
  Double,
  Flag,
}

/** By kind the length of a value in bytes if it is fixed, else 0. */
export const FIXED_BYTES = {
  [Kind.Any]: 0,
  [Kind.Text]: 0,
  [Kind.Integer]: 4,
  [Kind.Double]: 8,
  [Kind.Flag]: 1,
};
