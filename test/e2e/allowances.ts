/** Where two correct engines may differ. Each allowance names its reason; what is not allowed here must be equal. */
import type { CompareOptions } from '../tree.ts'

type Ignore = NonNullable<CompareOptions['ignore']>

/** Holes are an engine's own choice: umoci makes none, and zeros may become one. */
export const isSparse: Ignore = (_, fact) => fact === 'sparse'

/** Directories that no layer lists: the engine makes them, when it runs. The root of a layer without `./` is one, too. */
const implied = new Set(['.', 'never', 'never/was', 'never/was/listed'])

export const isImplied: Ignore = (path, fact) => fact === 'sparse' || (fact === 'mtime' && implied.has(path))
