// `npm run build`: the addon for this machine, and the JavaScript face.
import { build } from './tools.mjs';

build();
