import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { buildTar } from '../tar-builder.ts'
import { type FaultyRegistry, startFaultyRegistry } from './faulty-registry.ts'
import { descriptorOf, digestOf } from './push.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'
const files = [0, 1, 2].map(number => ({ name: `file-${number}`, data: randomBytes(400_000) }))
const tars = files.map(file => buildTar([{ ...file, typeflag: '0', mode: 0o644 }]))
export const layers = tars.map(tar => gzipSync(tar))
export const layerBytes = layers.reduce((sum, { length }) => sum + length, 0)

/** Serves an image of three layers as `team/app:v1`. */
export async function startImage(options: Parameters<typeof startFaultyRegistry>[0] = {}): Promise<FaultyRegistry> {
  const registry = await startFaultyRegistry(options)
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: tars.map(tar => digestOf(tar)) },
    }),
  )
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
    layers: layers.map(layer => descriptorOf(layer, layerType)),
  }
  for (const blob of [config, ...layers]) registry.add(blob)
  registry.tag('v1', manifestType, Buffer.from(JSON.stringify(manifest)))
  return registry
}
