import { type Context, defineCommand } from '../command.ts'
import { formatName } from '../familiar.ts'
import { eachOperand } from '../operands.ts'
import { writeJsonLine, writeLine } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description:
    'Takes names away from images. An image whose last name is gone is deleted, with all layers and blobs that nothing else needs. ' +
    'By ID, an image with several names is deleted with --force only.',
  operands: [{ name: 'REF', many: true, complete: 'image' }],
  rootFor: () => 'reaching files',
  options: {
    force: { type: 'boolean', short: 'f', summary: 'delete an image that has several names, or is mounted' },
  },
  examples: [
    { line: 'windlass rmi debian:12', does: 'Remove a name, and the image if it has no other.' },
    { line: 'windlass rmi --force 4f4fb700ef54', does: 'Remove an image with all its names.' },
    { line: 'windlass rmi --force $(windlass images -q)', does: 'Remove all images.' },
  ],
  exits: ['2  an image was not found; the others are removed'],
  async run(context, references, { force }) {
    await using store = await openStore(context)
    return await eachOperand(context, references, async text => {
      const removed = await store.removeImage(text, { force })
      if (context.json) return writeJsonLine(context, removed)
      for (const name of removed.untagged) writeUnlessQuiet(context, `Untagged: ${formatName(name)}`)
      for (const digest of removed.deleted) writeUnlessQuiet(context, `Deleted: ${digest}`)
    })
  },
})

function writeUnlessQuiet(context: Context, text: string): void {
  if (!context.quiet) writeLine(context, text)
}
