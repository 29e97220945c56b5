import { resolve } from 'node:path'
import { defineCommand } from '../command.ts'
import { isInOwnNamespace } from '../namespace.ts'
import { writeJson, writeLine, writeWarning } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description:
    'Unpacks an image of the store into a directory: all its layers applied, whiteouts done. The directory must be new or empty; ' +
    "it may be a mount point, and a new filesystem's lost+found does not count. It gets the owner, mode, times and extended " +
    "attributes of the image's root, as a root filesystem needs. With --bundle the directory becomes an OCI bundle, config.json " +
    'and rootfs, that runc and crun start, for an ordinary user in a user namespace; if it was there before, it keeps its own owner and mode.',
  operands: [
    { name: 'REF', complete: 'image' },
    { name: 'DIR', complete: 'directory' },
  ],
  rootFor: () => 'making owners',
  options: {
    bundle: { type: 'boolean', summary: 'make an OCI runtime bundle' },
  },
  examples: [
    { line: 'windlass unpack debian:12 /srv/debian', does: 'Make a root filesystem.' },
    {
      line: 'windlass unpack --bundle alpine /tmp/box && runc run -b /tmp/box box',
      does: 'Start a container without a daemon.',
    },
  ],
  exits: ['2  the image was not found', '7  no space, or not allowed to make owners and devices'],
  async run(context, [reference = '', directory = ''], { bundle }) {
    const { json, signal } = context
    const destination = resolve(directory)
    const { unpackImage } = await import('../../copy/unpack.ts')
    await using store = await openStore(context)
    const image = store.findImage(reference)
    {
      using _progress = await context.openProgress(`Unpacking ${reference}`)
      const onWarning = (message: string) => writeWarning(context, message)
      const forUser = isInOwnNamespace(context.env)
      await unpackImage(store, image, destination, { bundle, forUser, signal, onWarning })
    }
    if (json) writeJson(context, { id: image.id, directory: destination, bundle })
    else writeLine(context, destination)
    return 0
  },
})
