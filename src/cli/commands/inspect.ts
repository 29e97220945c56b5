import { WindlassError } from '../../errors.ts'
import type { ImageRecord } from '../../places/store/types.ts'
import { defineCommand } from '../command.ts'
import { formatName } from '../familiar.ts'
import { eachOperand } from '../operands.ts'
import { writeJson } from '../output.ts'
import { openStore } from '../store.ts'

/** What is shown of an image's config document. It is a stranger's: nothing but its being JSON is relied on. */
type Config = Readonly<Record<string, unknown>>

export const command = defineCommand({
  description:
    "Prints all that is known of images as a JSON array, in the shape of 'docker image inspect', with the layers of the store in " +
    'addition: chain ID, diff ID, digest of the blob, size, directory.',
  operands: [{ name: 'REF', many: true, complete: 'image' }],
  options: {},
  examples: [
    { line: 'windlass inspect debian:12', does: 'Print everything about an image.' },
    {
      line: "windlass inspect debian:12 | jq -r '.[0].GraphDriver.Data.UpperDir'",
      does: 'Find the directory of its top layer.',
    },
  ],
  exits: ['2  an image was not found; the others are printed'],
  async run(context, references) {
    await using store = await openStore(context)
    const found: object[] = []
    const status = await eachOperand(context, references, async text => {
      const image = store.findImage(text)
      found.push(describe(image, parseConfig(await store.readBlob(image.config.digest), image)))
    })
    writeJson(context, found)
    return status
  },
})

function describe(image: ImageRecord, config: Config): object {
  const { os, architecture, variant } = image.platform
  return {
    Id: image.id,
    RepoTags: image.names.map(formatName),
    RepoDigests: image.repoDigests.map(formatName),
    Digest: image.digest,
    MediaType: image.mediaType,
    Created: image.created ?? '',
    Author: config['author'] ?? '',
    Config: config['config'] ?? null,
    Architecture: architecture,
    ...(variant !== undefined && { Variant: variant }),
    Os: os,
    Size: image.size,
    SizeCompressed: image.sizeCompressed,
    GraphDriver: { Name: 'overlay2', Data: describeDirectories(image) },
    RootFS: { Type: 'layers', Layers: image.layers.map(({ diffId }) => diffId) },
    Layers: image.layers.map(({ chainId, diffId, blobDigest, size, diffDirectory }) => ({
      ChainId: chainId,
      DiffId: diffId,
      Digest: blobDigest,
      Size: size,
      Directory: diffDirectory,
    })),
    Metadata: { StoredAt: image.storedAt },
  }
}

/** As docker's overlay2 driver tells them: the nearest lower layer first. */
function describeDirectories({ layers }: ImageRecord): object {
  const directories = layers.map(({ diffDirectory }) => diffDirectory).toReversed()
  const [upper, ...lower] = directories
  return { ...(lower.length > 0 && { LowerDir: lower.join(':') }), ...(upper !== undefined && { UpperDir: upper }) }
}

function parseConfig(bytes: Uint8Array, { id }: ImageRecord): Config {
  try {
    const config: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (typeof config === 'object' && config !== null) return config as Config
  } catch (cause) {
    throw new WindlassError('CORRUPT', `Cannot read the config of image ${id}: it is not JSON`, { cause })
  }
  throw new WindlassError('CORRUPT', `Cannot read the config of image ${id}: it is not a JSON object`)
}
