import { WindlassError } from '../../errors.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJson } from '../output.ts'
import { openFileToStdout, placeOptions, showRun } from '../transfer.ts'

export const command = defineCommand({
  description:
    "Prints a file of an image, or a directory as a tar, whose names are relative to it. The image is one of the store, or in any place, in the words of 'copy'. Nothing is unpacked: layers are read " +
    'from the top down until it is sure what the path is, those below not at all. Symlinks are followed, and nothing leads out of the image. Not a byte comes out before the layer that it ' +
    'is from is verified.',
  operands: [{ name: 'REF', complete: 'image' }, { name: 'PATH' }],
  options: {
    ...connectionOptions,
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      summary: 'write it there, complete or not at all; default is stdout',
    },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      summary: "the platform to read; default is this machine's",
    },
  },
  examples: [
    { line: 'windlass get debian:12 /etc/os-release', does: 'What is in there.' },
    {
      line: 'windlass get -o app docker://registry.example:5000/app:2.4 /usr/bin/app',
      does: 'A program, without pulling the image.',
    },
    { line: 'windlass get app:2.4 /etc/app | tar -xC conf', does: 'A directory.' },
  ],
  exits: ['2  the image, or the path in it, was not found', '6  a layer is torn, altered or too large', '7  no space'],
  async run(context, [text = '', path = ''], { output, platform, ...network }) {
    if (context.json && output === undefined)
      throw new WindlassError(
        'USAGE',
        'Cannot get a file to stdout with --json, which tells of it there; wanted -o FILE',
      )
    if (path === '') throw new WindlassError('USAGE', 'Cannot get a file: its path is empty')
    const { parseImage } = await import('../../copy/transport.ts')
    const { openImage } = await import('../../copy/places.ts')
    const { getPath } = await import('../../copy/get-path.ts')
    const { openFileSink } = await import('../../places/archive/file-sink.ts')
    const { Store } = await import('../../places/store/store.ts')
    const options = await placeOptions(context, network)
    await using image = await openImage(parseImage(text), options)
    const { root, signal } = context
    // The store's directory holds meanwhile what is not verified yet.
    await using _store = await Store.open(root, { signal })
    await using sink = output === undefined ? openFileToStdout(context) : await openFileSink(output)
    const choices = { root, signal, spoolDirectory: root, ...(platform !== undefined && { platform }) }
    const got = await showRun(context, `Getting ${path} of ${text}`, getPath(image, path, sink, choices))
    if (context.json) writeJson(context, got)
    return 0
  },
})
