import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { acceptHeader, isForeignLayer, layerCompression, mediaTypes } from './media-types.ts'

const compressions: [string, ReturnType<typeof layerCompression>, boolean][] = [
  [mediaTypes.ociLayer, 'none', false],
  [mediaTypes.ociLayerGzip, 'gzip', false],
  [mediaTypes.ociLayerZstd, 'zstd', false],
  [mediaTypes.ociForeignLayer, 'none', true],
  [mediaTypes.ociForeignLayerGzip, 'gzip', true],
  [mediaTypes.ociForeignLayerZstd, 'zstd', true],
  [mediaTypes.dockerLayer, 'none', false],
  [mediaTypes.dockerLayerGzip, 'gzip', false],
  [mediaTypes.dockerLayerZstd, 'zstd', false],
  [mediaTypes.dockerForeignLayer, 'none', true],
  [mediaTypes.dockerForeignLayerGzip, 'gzip', true],
  ['application/vnd.oci.image.layer.v1.tar+xz', 'xz', false],
  ['application/vnd.docker.image.rootfs.diff.tar.bzip2', 'bzip2', false],
  ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'unknown', false],
  ['application/vnd.oci.image.layer.v1.tar+constructor', 'unknown', false],
  ['application/vnd.in-toto+json', 'unknown', false],
  ['application/gzip', 'unknown', false],
  ['', 'unknown', false],
]

describe('layerCompression', () => {
  for (const [mediaType, compression, foreign] of compressions) {
    it(`says ${compression} of ${mediaType}`, () => {
      assert.equal(layerCompression(mediaType), compression)
      assert.equal(isForeignLayer(mediaType), foreign)
    })
  }
})

describe('acceptHeader', () => {
  it('asks for manifests and indexes of both families, never for schema 1', () => {
    assert.equal(
      acceptHeader,
      'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ' +
        'application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json',
    )
  })
})
