import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'

/** The picture in docs/architecture.md: who stands on which floor. Siblings under places/ are rooms of their own. */
const floors: Readonly<Record<string, number>> = {
  'errors.ts': 0,
  oci: 0,
  tar: 0,
  flow: 1,
  sys: 1,
  layer: 2,
  codec: 2,
  places: 3,
  copy: 4,
  server: 4,
  doctor: 4,
  cli: 5,
  'index.ts': 5,
}

/** What only one room may touch, and where its door is. */
const doors: readonly { readonly what: string; readonly pattern: RegExp; readonly door: RegExp }[] = [
  { what: 'libc by FFI', pattern: /from 'koffi'|from 'node:ffi'/, door: /^sys\/libc\.ts$/ },
  { what: 'SQL', pattern: /from 'node:sqlite'/, door: /^places\/store\/database\.ts$/ },
  { what: 'HTTP to registries', pattern: /from 'undici'/, door: /^places\/registry\// },
  {
    what: 'sockets and pipes',
    pattern: /from 'node:(http|https|net|tls)'/,
    door: /^(server\/|places\/(registry|docker|loopback)\/|sys\/(connect|pipes|local-http)\.ts$)/,
  },
  {
    what: 'child processes',
    pattern: /from 'node:child_process'/,
    door: /^(sys\/|places\/registry\/credential-helper\.ts$)/,
  },
  { what: 'the console', pattern: /console\.|process\.(stdout|stderr)|stdout.* = process\b/, door: /^cli\// },
  { what: 'argv and the environment', pattern: /process\.(argv|env)\b/, door: /^cli\// },
  {
    what: 'names of the store',
    pattern: /['"`/](overlay2\/|blobs\/sha256|windlass\.db)/,
    door: /^(places\/store|server)\//,
  },
]

const source = join(import.meta.dirname, '..', 'src')
const files = globSync('**/*.ts', { cwd: source })
const production = files.filter(file => !file.endsWith('.test.ts'))

const importsOf = (file: string) => matchImports(file, /(?:from|import\()\s*'(\.[^']+)'/g)
const staticImportsOf = (file: string) => matchImports(file, /from\s*'(\.[^']+)'/g)

function matchImports(file: string, pattern: RegExp): string[] {
  const text = readFileSync(join(source, file), 'utf8')
  const found = text.matchAll(pattern)
  return [...found].map(([, path]) => relative(source, resolve(source, dirname(file), path ?? '')))
}

/** The room of a file: its first folder; under places/ the first two; a file at the top is its own room. */
function roomOf(file: string): string {
  const [first = '', second = ''] = file.split('/')
  return first === 'places' && second.includes('.') === false && file.split('/').length > 2
    ? `${first}/${second}`
    : first
}

function floorOf(file: string): number {
  const floor = floors[file.split('/')[0] ?? '']
  assert.ok(floor !== undefined, `${file} stands in no room of the picture`)
  return floor
}

/** Files that lead back to themselves by what they import at once; what is imported when it is needed is no part of it. */
function findCircle(): string[] {
  const done = new Set<string>()
  const way: string[] = []
  const visit = (file: string): string[] => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file]
    if (done.has(file)) return []
    way.push(file)
    for (const target of staticImportsOf(file)) {
      const circle = visit(target)
      if (circle.length > 0) return circle
    }
    way.pop()
    done.add(file)
    return []
  }
  for (const file of production) {
    const circle = visit(file)
    if (circle.length > 0) return circle
  }
  return []
}

test('no file imports itself by way of others', () => {
  assert.deepEqual(findCircle(), [])
})

test('a room imports only from floors below its own, and from itself', () => {
  assert.ok(production.length > 50)
  const wrong = production.flatMap(file =>
    importsOf(file)
      .filter(target => roomOf(target) !== roomOf(file) && floorOf(target) >= floorOf(file))
      .filter(target => target !== 'errors.ts')
      .filter(target => !(target === 'places/place.ts' && file.startsWith('places/')))
      .map(target => `${file} imports ${target}`),
  )
  assert.deepEqual(wrong, [])
})

test('what has one door is used only behind it', () => {
  for (const { what, pattern, door } of doors) {
    const users = production.filter(file => pattern.test(stripComments(readFileSync(join(source, file), 'utf8'))))
    assert.ok(users.length > 0, `nobody uses ${what}: the rule has lost its object`)
    assert.deepEqual(
      users.filter(file => !door.test(file)),
      [],
      what,
    )
  }
})

test('no process ends by process.exit, which may wait for ever for a compiler thread', () => {
  const users = production.filter(file =>
    /\bprocess\.(exit|reallyExit)\(/.test(stripComments(readFileSync(join(source, file), 'utf8'))),
  )
  assert.deepEqual(users, [])
})

test('nobody loads the index of undici, which takes as long as all of windlass together', () => {
  const users = production.filter(file =>
    /^import (?!type ).*from 'undici'/m.test(readFileSync(join(source, file), 'utf8')),
  )
  assert.deepEqual(users, [])
})

test('the picture in docs/architecture.md names every room on its floor', () => {
  const text = readFileSync(join(source, '..', 'docs', 'architecture.md'), 'utf8')
  const rows = [...text.matchAll(/^\| (\d) \| ([^|]+)\|/gm)].map(([, floor, rooms]) => ({
    floor: Number(floor),
    rooms: [...(rooms ?? '').matchAll(/`([\w.]+)\/?`/g)].map(([, room]) => room ?? ''),
  }))
  const pictured = Object.fromEntries(rows.flatMap(({ floor, rooms }) => rooms.map(room => [room, floor])))
  assert.deepEqual(pictured, floors)
})

function stripComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, '')
}
