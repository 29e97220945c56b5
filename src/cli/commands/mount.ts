import { resolve } from 'node:path'
import type { Store } from '../../places/store/store.ts'
import { type Context, defineCommand } from '../command.ts'
import { formatId } from '../familiar.ts'
import { checkMountsStay, readLease } from '../namespace.ts'
import { writeJson, writeLine } from '../output.ts'
import { openStore } from '../store.ts'
import { formatTable } from '../table.ts'

export const command = defineCommand({
  description:
    'Mounts an image of the store by the overlay filesystem of the kernel, read-only, and prints where. Without REF, lists what is ' +
    "mounted. An ordinary user's mounts stay as long as the shell of 'windlass unshare' in which they are made.",
  operands: [
    { name: 'REF', optional: true, complete: 'image' },
    { name: 'TARGET', optional: true, complete: 'directory' },
  ],
  rootFor: () => 'reaching files',
  options: {
    'read-write': { type: 'boolean', short: 'w', summary: 'put a writable layer on top, which umount throws away' },
  },
  examples: [
    { line: 'windlass mount debian:12 /mnt', does: 'Mount an image at a directory.' },
    { line: 'ls $(windlass mount debian:12)', does: 'Mount it at a directory of the store.' },
    { line: 'windlass mount', does: 'List what is mounted.' },
  ],
  exits: ['2  the image was not found', '7  not allowed to mount'],
  async run(context, [reference, target], options) {
    await using store = await openStore(context)
    if (reference === undefined) return listMounts(context, store)
    checkMountsStay(`Cannot mount ${reference}`, context.env)
    const image = store.findImage(reference)
    const path = target === undefined ? undefined : resolve(target)
    const mount = await store.mount(image, path, { readOnly: !options['read-write'], lease: readLease(context.env) })
    if (context.json) writeJson(context, mount)
    else writeLine(context, mount.target)
    return 0
  },
})

function listMounts(context: Context, store: Store): number {
  const mounts = store.listMounts()
  if (context.json) writeJson(context, mounts)
  else if (context.quiet) for (const { target } of mounts) writeLine(context, target)
  else {
    const rows = mounts.map(({ target, imageId, readOnly }) => [
      imageId === undefined ? '<none>' : formatId(imageId, false),
      readOnly ? 'ro' : 'rw',
      target,
    ])
    for (const line of formatTable(['IMAGE ID', 'MODE', 'TARGET'], rows)) writeLine(context, line)
  }
  return 0
}
