import '../shared/process/early-hangup.js';
import '../shared/process/young-generation.js';

// Not imported like the other: everything that is gets loaded before any of it runs.
await import('./run.js');
