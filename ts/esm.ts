type Entries = typeof import('./entries.js');
type Core = Entries['core'];

function attempt(): () => Core {
  try {
    const { core } = require('./bundle.js') as Entries;
    return () => core;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/**
 * Returns the core, or throws what loading it threw. The ES module entry points come here: when a
 * CommonJS module throws while an ES module imports it, Node 20 rejects the import and then ends
 * the process as if nobody had caught that. Thrown by the entry point itself, it can be caught.
 */
export const core: () => Core = attempt();
