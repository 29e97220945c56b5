import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { pull } from '../../src/copy/pull.ts'
import { isWindlassError } from '../../src/errors.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { makeFile, makeLayer } from '../faults/image.ts'
import { startFaultyRegistry, well } from '../servers/faulty-registry.ts'
import { descriptorOf, digestOf } from '../servers/push.ts'
import { TestDirectory } from '../unpack-tar.ts'

/** CVE-2020-15157: a descriptor whose `urls` lead to a host of the image's choice, which would be asked from here, with what is meant for the registry. */

const layerTypes = [
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.oci.image.layer.v1.tar+gzip',
]

for (const layerType of layerTypes)
  for (const isThere of [true, false])
    test(`${layerType}${isThere ? '' : ', which the registry lacks'}: no host of its urls is asked`, async () => {
      using directory = new TestDirectory()
      let asked = 0
      const stranger = createServer((_, response) => void response.end(layer.blob, () => asked++))
      const { promise: listening, resolve } = Promise.withResolvers<void>()
      stranger.listen(0, '127.0.0.1', resolve)
      await listening
      const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/layer`

      const layer = makeLayer([makeFile('etc/motd', 'hello')])
      const rootfs = { type: 'layers', diff_ids: [digestOf(layer.tar)] }
      const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs }))
      const manifest = {
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
        layers: [{ ...descriptorOf(layer.blob, layerType), urls: [url] }],
      }
      await using registry = await startFaultyRegistry({ always: well() })
      registry.add(config)
      if (isThere) registry.add(layer.blob)
      registry.tag('v1', manifest.mediaType, Buffer.from(JSON.stringify(manifest)))
      const options = { root: join(directory.path, 'store'), platform: 'linux/amd64', credentials: noCredentials }
      const outcome = await pull(`${registry.host}/team/app:v1`, options).result.catch(error => error)
      stranger.closeAllConnections()
      stranger.close()
      assert.equal(asked, 0)
      if (!isThere) assert.ok(isWindlassError(outcome, 'NOT_FOUND'), String(outcome))
      else assert.ok(!(outcome instanceof Error), String(outcome))
    })
