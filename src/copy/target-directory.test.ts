/** What another user, who may write around the target, could put in the place of a name while root unpacks there. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { makeDirectory } from '../places/store/fixture.test.ts'
import { TargetDirectory } from './target-directory.ts'

/** A directory of the other user's, and one of root's elsewhere. */
async function makeScene(t: TestContext) {
  const home = await makeDirectory(t)
  const victim = await makeDirectory(t)
  await chmod(victim, 0o711)
  await writeFile(join(victim, 'secret'), 'x', { mode: 0o600 })
  return { home, victim }
}

async function openWithContent(place: string): Promise<TargetDirectory> {
  const target = await TargetDirectory.open(place, 'Cannot try')
  await writeFile(join(target.building, 'name'), 'windlass')
  await chmod(target.building, 0o700)
  return target
}

/** Puts a symlink to the victim in the place of what a name stood for. */
async function exchange(path: string, victim: string): Promise<void> {
  renameSync(path, `${path}.away`)
  await symlink(victim, path)
}

function workshopIn(directory: string): string {
  const name = readdirSync(directory).find(name => name.startsWith('.windlass-')) ?? assert.fail('nothing is built')
  return join(directory, name)
}

function assertUntouched(victim: string): void {
  assert.deepEqual(readdirSync(victim), ['secret'])
  assert.equal(statSync(victim).mode & 0o7777, 0o711)
  assert.equal(statSync(join(victim, 'secret')).mode & 0o7777, 0o600)
}

test('nobody else may enter what is built, and its place gets the mode of the tree', async t => {
  const { home } = await makeScene(t)
  const target = await openWithContent(join(home, 'new'))
  assert.equal(statSync(workshopIn(home)).mode & 0o7777, 0o700)
  await target.commit(true)
  assert.deepEqual(readdirSync(home), ['new'])
  assert.deepEqual([statSync(join(home, 'new')).mode & 0o7777, readdirSync(join(home, 'new'))], [0o700, ['name']])
})

test('what is built is removed through a symlink by nobody', async t => {
  const { home, victim } = await makeScene(t)
  const target = await openWithContent(join(home, 'new'))
  const workshop = workshopIn(home)
  await exchange(workshop, victim)
  await target.discard()
  assertUntouched(victim)
  assert.deepEqual(readdirSync(`${workshop}.away`), [])
})

test('what is built comes to its place, though its name leads elsewhere', async t => {
  const { home, victim } = await makeScene(t)
  const target = await openWithContent(join(home, 'new'))
  await exchange(workshopIn(home), victim)
  await target.commit(true)
  assertUntouched(victim)
  assert.equal(readFileSync(join(home, 'new/name'), 'utf8'), 'windlass')
})

test('an existing directory that gives way to a symlink gets its content all the same', async t => {
  const { home, victim } = await makeScene(t)
  const place = join(home, 'box')
  await mkdir(place)
  const target = await openWithContent(place)
  await exchange(place, victim)
  await target.commit(true)
  assertUntouched(victim)
  assert.deepEqual(readdirSync(`${place}.away`), ['name'])
})

test('a parent that gives way to a symlink gets the new directory all the same', async t => {
  const { home, victim } = await makeScene(t)
  const target = await openWithContent(join(home, 'parent/new'))
  await exchange(join(home, 'parent'), victim)
  await target.commit(true)
  assertUntouched(victim)
  assert.deepEqual(readdirSync(join(home, 'parent.away')), ['new'])
})

test('what others build in a shared directory is left alone, though it may not be opened', async t => {
  const { home } = await makeScene(t)
  await chmod(home, 0o1777)
  const others = join(home, '.windlass-others')
  await mkdir(others, { mode: 0o700 })
  await chown(others, 7, 7)
  const url = JSON.stringify(new URL('target-directory.ts', import.meta.url).href)
  const script = `const { TargetDirectory } = await import(${url})
    const target = await TargetDirectory.open(process.argv[1], 'Cannot try')
    await target.commit(true)`
  // Root in the namespace of a user has no say over what is another's.
  const weaken = ['--bounding-set', '-dac_override,-dac_read_search', process.execPath, '--input-type=module']
  execFileSync('setpriv', [...weaken, '-e', script, join(home, 'new')], { stdio: 'pipe', timeout: 60_000 })
  assert.deepEqual(readdirSync(home), ['.windlass-others', 'new'])
})
