import { formatReference, parseReference } from '../../oci/reference.ts'
import { defineCommand } from '../command.ts'
import { writeJson } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description: 'Gives an image of the store one more name. A tag that another image had moves.',
  operands: [{ name: 'SRC', complete: 'image' }, { name: 'DEST' }],
  options: {},
  examples: [
    {
      line: 'windlass tag debian:12 registry.example:5000/base/debian:12',
      does: 'Name an image for another registry.',
    },
    { line: 'windlass tag 4f4fb700ef54 app:old', does: 'Name an image by its ID.' },
  ],
  exits: ['2  SRC was not found'],
  async run(context, [source = '', name = '']) {
    const reference = formatReference(parseReference(name))
    await using store = await openStore(context)
    const image = store.findImage(source)
    store.tag(image, reference)
    if (context.json) writeJson(context, { id: image.id, name: reference })
    return 0
  },
})
