import { defineCommand } from '../command.ts'
import { writeJson, writeLine } from '../output.ts'
import { formatSize } from '../progress/units.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description:
    'Frees what nothing needs: blobs and layers of no image, downloads that nobody resumed, what died processes left. ' +
    'Pulls that run meanwhile keep all that is theirs.',
  operands: [],
  rootFor: () => 'reaching files',
  options: {
    partials: {
      type: 'boolean',
      summary: 'remove all partial downloads that are not in use now, not only those of more than a day ago',
    },
  },
  examples: [
    { line: 'windlass gc', does: 'Free what can be freed.' },
    { line: 'windlass gc --partials', does: 'Free interrupted downloads, too; the next pull starts them anew.' },
    { line: 'windlass gc --json', does: 'The same, and count it for a program.' },
  ],
  async run(context, _operands, { partials: allPartials }) {
    await using store = await openStore(context)
    using _progress = await context.openProgress('Collecting garbage')
    const freed = await store.collectGarbage(allPartials ? { partialIdleMs: 0 } : {})
    const { blobs, layers, partials, bytesFreed } = freed
    if (context.json) writeJson(context, freed)
    else if (context.quiet) writeLine(context, String(bytesFreed))
    else
      writeLine(
        context,
        `Freed ${formatSize(bytesFreed)}: ${blobs} blobs, ${layers} layers, ${partials} partial downloads`,
      )
    return 0
  },
})
