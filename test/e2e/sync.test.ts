/** Lists of images between registries, a layout and the store. */
import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type DockerRegistry, startDockerRegistry } from '../servers/docker-registry.ts'
import { run } from '../testbed/command.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass } from '../testbed/windlass.ts'

let bed: Testbed
let registry: DockerRegistry
let windlass: Windlass
let directory: string

before(async () => {
  bed = await openTestbed()
  registry = await startDockerRegistry()
  windlass = openWindlass(await bed.makeDirectory('sync-store'))
  directory = await bed.makeDirectory('sync')
  const source = `docker://${bed.refer('odd')}`
  for (const tag of ['1.0', '1.1', '2.0'])
    await windlass.run('copy', source, `docker://${registry.host}/team/app:${tag}`)
  await windlass.run('copy', `docker://${bed.refer('multi')}`, `docker://${registry.host}/multi:1`)
})
after(async () => {
  await registry?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

async function writeList(text: string): Promise<string> {
  const file = join(directory, 'list')
  await writeFile(file, text.replaceAll('HOST', registry.host))
  return file
}

/** `status name`, by name. */
async function sync(...args: string[]): Promise<{ lines: string[]; status: number; stderr: string }> {
  const { stdout, stderr, status } = await windlass.try('sync', '--json', ...args)
  const outcomes = stdout.split('\n').filter(line => line !== '')
  const lines = outcomes.map(line => {
    const { status, source, error } = JSON.parse(line)
    return [status, source.replace(registry.host, 'HOST'), ...(error ? [error.code] : [])].join(' ')
  })
  return { lines: lines.toSorted(), status: status ?? -1, stderr }
}

async function tagsOf(repository: string): Promise<string[]> {
  const listing = await run('skopeo', ['list-tags', '--tls-verify=false', `docker://${repository}`])
  return JSON.parse(listing).Tags.toSorted()
}

const yaml = `HOST:
  tls-verify: false
  images:
    multi: ["1"]
  images-by-semver:
    team/app: "< 2"
`

test('a list of skopeo goes to a registry: first told, then copied, then there', async () => {
  const file = await writeList(yaml)
  const to = `docker://${registry.host}/mirror`
  const images = ['HOST/multi:1', 'HOST/team/app:1.0', 'HOST/team/app:1.1']
  const planned = await sync('--dry-run', '-f', file, to)
  assert.deepEqual([planned.lines, planned.status], [images.map(name => `planned ${name}`), 0], planned.stderr)
  assert.deepEqual(
    await run('skopeo', ['list-tags', '--tls-verify=false', `docker://${registry.host}/mirror/multi`]).catch(
      () => 'none',
    ),
    'none',
  )
  assert.deepEqual(
    (await sync('-f', file, to)).lines,
    images.map(name => `copied ${name}`),
  )
  assert.deepEqual(await tagsOf(`${registry.host}/mirror/team/app`), ['1.0', '1.1'])
  const digest = async (name: string) =>
    JSON.parse(await run('skopeo', ['inspect', '--tls-verify=false', `docker://${registry.host}/${name}`])).Digest
  assert.equal(await digest('mirror/multi:1'), await digest('multi:1'))
  assert.deepEqual(
    (await sync('-f', file, to)).lines,
    images.map(name => `unchanged ${name}`),
  )
})

test('skopeo takes the same list to the same names with --names last', async () => {
  const file = await writeList(
    yaml.replace('  images-by-semver:\n    team/app: "< 2"\n', '  images-by-tag-regex:\n    team/app: ^1\n'),
  )
  assert.equal((await sync('--names', 'last', '-f', file, `docker://${registry.host}/ours`)).status, 0)
  await run('skopeo', [
    'sync',
    '-a',
    '--src',
    'yaml',
    '--dest',
    'docker',
    '--dest-tls-verify=false',
    file,
    `${registry.host}/theirs`,
  ])
  assert.deepEqual(await tagsOf(`${registry.host}/ours/app`), await tagsOf(`${registry.host}/theirs/app`))
  assert.deepEqual(await tagsOf(`${registry.host}/ours/multi`), await tagsOf(`${registry.host}/theirs/multi`))
})

test('one that fails is told with its status, and the others are copied, into a layout and the store', async () => {
  const file = await writeList('HOST/multi:1\nHOST/none:1\nHOST/team/app:2.0\n')
  const layout = join(directory, 'layout')
  const expected = ['copied HOST/multi:1', 'copied HOST/team/app:2.0', 'failed HOST/none:1 NOT_FOUND']
  const into = await sync('-f', file, `oci:${layout}`)
  assert.deepEqual([into.lines, into.status], [expected, 2], into.stderr)
  const names = JSON.parse(await run('cat', [join(layout, 'index.json')])).manifests.map(
    ({ annotations }: { annotations: Record<string, string> }) => annotations['org.opencontainers.image.ref.name'],
  )
  assert.deepEqual(names.toSorted(), [`${registry.host}/multi:1`, `${registry.host}/team/app:2.0`])
  const stored = await sync('-f', file, 'store:')
  assert.deepEqual([stored.lines, stored.status], [expected, 2], stored.stderr)
  assert.match(await windlass.run('images', '--names'), /team\/app:2\.0/)
  const again = await sync('-f', file, 'store:')
  assert.deepEqual(again.lines, [
    'failed HOST/none:1 NOT_FOUND',
    'unchanged HOST/multi:1',
    'unchanged HOST/team/app:2.0',
  ])
  assert.deepEqual((await sync('-f', file, `oci:${layout}`)).lines, again.lines)
})

test('two images that would get one name, and a destination that is none, are refused before anything is copied', async () => {
  const file = await writeList('HOST/team/app:1.0\nHOST/multi:1\n')
  const before = await readdir(directory)
  const both = await sync(
    '--names',
    'last',
    '-f',
    await writeList('HOST/a/app:1.0\nHOST/b/app:1.0\n'),
    `docker://${registry.host}`,
  )
  assert.equal(both.status, 125)
  assert.match(both.stderr, /both would be docker/)
  assert.equal((await sync('-f', file, '/tmp/x')).status, 125)
  assert.equal((await sync('-f', join(directory, 'nowhere'), 'store:')).status, 2)
  assert.equal((await sync('store:')).status, 125)
  assert.deepEqual(await readdir(directory), before)
})
