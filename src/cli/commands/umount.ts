import { realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import { WindlassError } from '../../errors.ts'
import type { Store } from '../../places/store/store.ts'
import { defineCommand } from '../command.ts'
import { eachOperand } from '../operands.ts'
import { writeJsonLine } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description: 'Unmounts what mount has mounted: at a directory, or wherever an image is mounted.',
  operands: [{ name: 'TARGET|REF', many: true, complete: 'directory' }],
  rootFor: () => 'reaching files',
  options: {},
  examples: [
    { line: 'windlass umount /mnt', does: 'Unmount a directory.' },
    { line: 'windlass umount debian:12', does: 'Unmount an image from everywhere.' },
  ],
  exits: ['2  nothing of this name is mounted', '7  not allowed to unmount'],
  async run(context, operands) {
    await using store = await openStore(context)
    return await eachOperand(context, operands, async text => {
      const targets = await findTargets(store, text)
      for (const target of targets) await store.umount(target)
      if (context.json) writeJsonLine(context, { unmounted: targets })
    })
  },
})

/** A directory goes before an image of the same name. The kernel lists mounts by their real paths. */
async function findTargets(store: Store, text: string): Promise<string[]> {
  const mounts = store.listMounts()
  const path = await realpath(text).catch(() => resolve(text))
  if (mounts.some(({ target }) => target === path)) return [path]
  if (/^[./]/.test(text)) throw notMounted(text)
  const { id } = store.findImage(text)
  const targets = mounts.filter(({ imageId }) => imageId === id).map(({ target }) => target)
  if (targets.length === 0) throw notMounted(text)
  return targets
}

function notMounted(text: string): WindlassError {
  return new WindlassError(
    'NOT_FOUND',
    `Cannot unmount ${JSON.stringify(text)}: nothing of this store is mounted there`,
    {
      hint: "'windlass mount' lists what is mounted",
    },
  )
}
