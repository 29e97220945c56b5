import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readCrioPlaces } from './crio-places.ts'
import { withGraphRoot } from './engines.ts'

/** As a CRI-O 1.37 writes them: each value, whether it was set or not. */
const told = ['[crio]', '  root = "/told"', '  runroot = "/run/told"', '  imagestore = ""', '  [crio.image]']
const said = (...more: readonly string[]) => [...told, ...more].join('\n')
const socket = '/run/crio/crio.sock'
const files = {
  '/etc/crio/crio.conf': '[crio]\nroot = "/first"\n',
  '/etc/crio/crio.conf.d/20-later.conf': '[crio]\nroot = \'/last\'\n[crio.image]\nbig_files_temporary_dir = "/big"\n',
  '/etc/crio/crio.conf.d/10-sooner.conf': '[crio]\n# root = "/commented"\nroot = "/sooner"\n',
}
const crio = (args: readonly string[] = ['/usr/bin/crio'], state = 'S') => {
  const { process } = makeEngine(7)
  return makeEngine(7, { kind: 'crio', args, sockets: [socket], process: { ...process, name: 'crio', state } })
}
const host = (answer?: string) =>
  new FixtureHost({ files, answers: answer === undefined ? {} : { [`${socket} /config`]: answer } })

const placesOf = async (where: FixtureHost, engine = crio()) =>
  await readCrioPlaces(where, engine, path => [where.ask(socket, path)])

test('what a CRI-O runs with counts, and not what its files say since', async () => {
  assert.deepEqual(await placesOf(host(said())), { images: '/told' })
  const more = said('    big_files_temporary_dir = "/var/big"', '    separate = "root = /x"')
  assert.deepEqual(await placesOf(host(more)), { images: '/told', temporary: '/var/big' })
  const apart = said().replace('imagestore = ""', 'imagestore = "/images"')
  assert.deepEqual(await placesOf(host(apart)), { images: '/images' })
})

test('one that does not answer, or is stopped and so not asked, is known by its files: the last one counts, and its command line more', async () => {
  const last = { images: '/last', temporary: '/big' }
  assert.deepEqual(await placesOf(host()), last)
  assert.deepEqual(await placesOf(host(said()), crio(undefined, 'T')), last)
  assert.deepEqual(await placesOf(host('404 page not found\nroot = "/x"\n')), last)
  assert.deepEqual(await placesOf(host(), crio(['crio', '--root=/named'])), { ...last, images: '/named' })
  const elsewhere = ['crio', '--config', '/etc/crio/crio.conf.d/10-sooner.conf', '--config-dir', '']
  assert.deepEqual(await placesOf(host(), crio(elsewhere)), { images: '/sooner' })
})

test('where neither it nor a file of its own tells, it keeps images where podman does', async () => {
  const storage = new FixtureHost({ files: { '/etc/containers/storage.conf': 'graphroot = "/shared"\n' } })
  assert.equal((await withGraphRoot(storage, crio())).dataRoot, '/shared')
  const answered = await withGraphRoot(host(said('    big_files_temporary_dir = "/var/big"')), {
    ...crio(),
    rootPrefix: '',
  })
  const { dataRoot, dataPath, temporary } = answered
  assert.deepEqual({ dataRoot, dataPath, temporary }, { dataRoot: '/told', dataPath: '/told', temporary: '/var/big' })
})

test('one of its sockets that holds whoever asks, or knows of no configuration, does not hide what another one tells', async () => {
  const where = host(said())
  const asked = (path: string) => [
    new Promise<undefined>(() => {}),
    Promise.resolve({ status: 404, body: 'not found' }),
    where.ask(socket, path),
  ]
  assert.deepEqual(await readCrioPlaces(where, crio(), asked), { images: '/told' })
})
