import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientPull } from '../../doctor/clients.ts'
import { parseReference } from '../../oci/reference.ts'
import { listWanted } from './layers-of-clients.ts'

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
