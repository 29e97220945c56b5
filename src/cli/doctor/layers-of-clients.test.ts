import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { test } from 'node:test'
import { makeNoise, serveImage } from '../../../test/faults/image.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { TestDirectory } from '../../../test/unpack-tar.ts'
import type { ClientPull } from '../../doctor/clients.ts'
import type { FoundEngine } from '../../doctor/engines.ts'
import { parseReference } from '../../oci/reference.ts'
import type { Context } from '../command.ts'
import { fetchFromRegistry, listWanted } from './layers-of-clients.ts'

function pullOf(text: string, platform?: string, isOfMany = false): ClientPull {
  return { text, reference: parseReference(text), namespace: undefined, socket: undefined, platform, isOfMany }
}

function wanted(pulls: readonly ClientPull[], named?: string): string[] {
  return listWanted(pulls, named).map(({ reference, platform }) => `${reference.path}:${reference.tag} ${platform}`)
}

test('what clients pull is had once, for the platform that each asks for; not what does not name one image', () => {
  const pulls = [pullOf('a'), pullOf('library/a:latest'), pullOf('a', 'linux/arm64'), pullOf('b', undefined, true)]
  assert.deepEqual(wanted(pulls), ['library/a:latest undefined', 'library/a:latest linux/arm64'])
})

test('an image that is named is had for the platform of the client that pulls it, and else for that of the host', () => {
  const pulls = [pullOf('a', 'linux/arm64'), pullOf('b')]
  assert.deepEqual(wanted(pulls, 'docker.io/library/a'), ['library/a:latest linux/arm64'])
  assert.deepEqual(wanted(pulls, 'c'), ['library/c:latest undefined'])
})

/** Files without a name that this process has open in a directory. */
function spoolsIn(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(`${directory}/.spool-`) ? [target] : []
    } catch {
      return [] // it was that of this look
    }
  })
}

test('what came before a layer that cannot be had is kept open no more, and what came is open as long as its caller wants', async () => {
  using directory = new TestDirectory()
  const context = { root: directory.path, env: {}, signal: AbortSignal.timeout(60_000) } as Context
  const engine = { kind: 'dockerd', sockets: [] as readonly string[] } as FoundEngine
  let isThere = true
  const layers = [makeNoise('one', 3000), makeNoise('two', 2000)]
  await using served = await serveImage(layers, {
    1: async ({ head, send, bytes, response }) => {
      if (!isThere) return void response.writeHead(404).end()
      head()
      await send(bytes)
      response.end()
    },
  })
  const choice = { engine, named: served.reference, sizeMax: 2 ** 20, moved: undefined }
  const found = await fetchFromRegistry(context, new FixtureHost({}), choice)
  assert.equal(found.length, 2)
  assert.equal(spoolsIn(directory.path).length, 2)
  for (const layer of found) await layer[Symbol.asyncDispose]()
  assert.equal(spoolsIn(directory.path).length, 0)
  isThere = false
  await assert.rejects(fetchFromRegistry(context, new FixtureHost({}), choice), /404/)
  assert.equal(spoolsIn(directory.path).length, 0)
})
