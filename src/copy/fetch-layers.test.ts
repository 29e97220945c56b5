import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { makeNoise, serveImage } from '../../test/faults/image.ts'
import { trickle } from '../../test/servers/faulty-registry.ts'
import { parseReference } from '../oci/reference.ts'
import { noCredentials } from '../places/registry/credentials.ts'
import { fetchLayers } from './fetch-layers.ts'
import { openImage } from './places.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-fetch-'))
after(() => rmSync(directory, { recursive: true }))

test('a layer that comes slowly tells of all that comes, and is whole at its end', async () => {
  const noise = makeNoise('noise', 10_000)
  await using served = await serveImage([noise], { 0: trickle(1000, 20) })
  const { signal } = new AbortController()
  const options = { root: directory, registry: { credentials: noCredentials }, signal }
  await using image = await openImage({ kind: 'docker', reference: parseReference(served.reference) }, options)
  let told = 0
  const moved = () => void told++
  const layers = await Array.fromAsync(fetchLayers(image, { signal, sizeMax: 2 ** 20, directory, moved }))
  for (const layer of layers) {
    assert.deepEqual(Buffer.concat(await Array.fromAsync(layer.read())), noise.blob)
    await layer[Symbol.asyncDispose]()
  }
  assert.equal(layers.length, 1)
  assert.ok(told >= 5, `${told} times`)
})
