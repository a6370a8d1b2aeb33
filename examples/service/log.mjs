/** Writes one line of the log. */
export function log(event, fields = {}) {
  console.log(JSON.stringify({ event, ...fields }));
}

/** Writes what failed, with the stable code where there is one. */
export function logFailure(event, error, fields = {}) {
  log(event, { ...fields, code: error?.code, error: error?.message ?? String(error) });
}
