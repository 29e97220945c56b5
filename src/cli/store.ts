import type { Store } from '../places/store/store.ts'
import type { Context } from './command.ts'

/** Opens the store of this run. The module, with SQLite and libc behind it, is loaded only now. */
export async function openStore({ root, signal }: Context): Promise<Store> {
  const { Store } = await import('../places/store/store.ts')
  return await Store.open(root, { create: true, signal })
}
