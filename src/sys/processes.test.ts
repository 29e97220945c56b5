import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { PipedProcess, within } from './processes.ts'

function sh(script: string): PipedProcess {
  return new PipedProcess('/bin/sh', ['-c', script])
}

async function readAll(child: PipedProcess): Promise<string> {
  const chunks: Uint8Array[] = []
  for (let chunk = await child.stdout.next(); chunk !== undefined; chunk = await child.stdout.next()) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 6000)
    await sleep(10)
  }
}

/** False for the zombies of orphans, too: they are init's to reap. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

test('a program gets nothing of our environment and directory, and leads a group of its own', async () => {
  process.env['PIGZ'] = '-p1'
  await using child = sh('env; pwd; cut -d" " -f5,6 /proc/$$/stat; echo $$')
  const lines = (await readAll(child)).trim().split('\n')
  delete process.env['PIGZ']
  assert.deepEqual(
    lines
      .map(line => line.replace(/^(WINDLASS_CHILD)=[-0-9a-f]{36}\.\d+\.$/, '$1=…'))
      .filter(line => /^[A-Z]+[A-Z_]*=/.test(line) && !/^(PWD|_|OLDPWD)=/.test(line))
      .sort(),
    ['LC_ALL=C', 'PATH=/usr/bin:/bin', 'WINDLASS_CHILD=…'],
  )
  const [cwd, group, pid] = lines.slice(-3)
  assert.equal(cwd, '/')
  assert.equal(group, `${pid} ${pid}`)
  assert.deepEqual(await child.ended, { status: 0, signal: null })
})

test('a program gets no descriptor of the pipes of others: it would keep them open', async () => {
  const list = async () => {
    await using child = sh('ls /proc/$$/fd')
    return await readAll(child)
  }
  const alone = await list()
  await using _first = sh('sleep 1000')
  await using _second = sh('sleep 1000')
  assert.equal(await list(), alone)
})

test('what was written is counted, and so is what waits in the pipes', async () => {
  await using child = sh('kill -STOP $$; head -c 1000 >/dev/null; printf 12345; sleep 100')
  await child.stdin.write(Buffer.alloc(5000))
  await until(() => child.facts().program?.state === 'T')
  assert.equal(child.facts().stdinFill, 5000)
  process.kill(child.pid, 'SIGCONT')
  assert.equal((await child.stdout.next())?.length, 5)
  const facts = child.facts()
  assert.equal(facts.bytesIn, 5000)
  assert.equal(facts.bytesOut, 5)
  assert.ok(facts.stdinFill < 5000)
  assert.ok(facts.tasks.length > 0)
  await until(() => child.facts().program?.state === 'S') // until then it is in vfork
})

test('a full pipe holds the program up, and a reader that comes back gets every byte', async () => {
  await using child = sh('head -c 9000000 /dev/zero')
  await until(() => child.stdout.fill > 0)
  await sleep(200)
  assert.ok(child.stdout.bytes < 4_000_000, `${child.stdout.bytes}`)
  assert.ok(child.stdout.fill > 0)
  assert.equal((await readAll(child)).length, 9_000_000)
})

test('a flood on stderr does not block the program, and only its beginning is kept', async () => {
  await using child = sh('head -c 5000000 /dev/zero | tr "\\0" x >&2; echo done')
  assert.equal(await readAll(child), 'done\n')
  await child.ended
  assert.equal(child.stderr.length, 65536)
})

test('disposing ends a program that ignores every polite signal, with its children, and waits for neither', async () => {
  const child = sh('trap "" TERM INT HUP; sleep 1000 & echo $!; wait; sleep 1000')
  const grandchild = Number(Buffer.from((await child.stdout.next()) ?? []).toString())
  const begun = performance.now()
  await child[Symbol.asyncDispose]()
  assert.ok(performance.now() - begun < 60_000)
  assert.equal(child.end?.signal, 'SIGKILL')
  assert.ok(!readdirSync('/proc').includes(String(child.pid)))
  await until(() => !isAlive(grandchild))
})

test('a stopped program can be killed', async () => {
  const child = sh('kill -STOP $$')
  await until(() => child.facts().program?.state === 'T')
  await child[Symbol.asyncDispose]()
  assert.equal(child.end?.signal, 'SIGKILL')
})

test("a program's end takes its children with it", async () => {
  await using child = sh('sleep 1000 & echo $!')
  const grandchild = Number(Buffer.from((await child.stdout.next()) ?? []).toString())
  await child.ended
  await until(() => !isAlive(grandchild))
})

test("what left the program's group is killed soon after it, and what belongs to another program is not", async () => {
  const daemon = '(setsid sh -c "echo \\$\\$; exec sleep 1000" &) ; sleep 0.2; exit 0'
  await using other = sh(`${daemon.replace('exit 0', 'sleep 1000')}`)
  const kept = Number(Buffer.from((await other.stdout.next()) ?? []).toString())
  await using child = sh(daemon)
  const left = Number(Buffer.from((await child.stdout.next()) ?? []).toString())
  assert.ok(left > 0 && isAlive(left))
  await child.ended
  await until(() => !isAlive(left))
  assert.ok(isAlive(kept))
  await other[Symbol.asyncDispose]()
  await until(() => !isAlive(kept))
})

test('what is killed behind one program is never the next one', async () => {
  for (let round = 0; round < 4; round++) {
    await using first = sh('exit 0')
    await first.ended
    // What it left behind is looked for about now.
    await sleep(500)
    await using next = sh('sleep 0.3')
    assert.deepEqual(await next.ended, { status: 0, signal: null })
  }
})

test('what a program says last is known when its end is', async () => {
  for (let round = 0; round < 20; round++) {
    await using child = sh('echo it is over >&2; exit 3')
    assert.equal((await child.ended).status, 3)
    assert.equal(child.stderr, 'it is over\n')
  }
})

test('a program that is not there ends at once, and says why', async () => {
  await using child = new PipedProcess('/nonexistent/program', [])
  const { error } = await child.ended
  assert.equal(error?.code, 'ENOENT')
})

test('a write that nobody can read any more fails, and a program that reads nothing cannot hold up the end', async () => {
  const deaf = sh('exec <&-; sleep 1000')
  await assert.rejects(async () => {
    for (;;) await deaf.stdin.write(Buffer.alloc(100_000))
  }, /EPIPE/)
  const idle = sh('sleep 1000')
  const write = idle.stdin.write(Buffer.alloc(4_000_000))
  assert.equal(await within(write, 100), false)
  await Promise.all([deaf[Symbol.asyncDispose](), idle[Symbol.asyncDispose](), assert.rejects(write)])
})

test('nothing is left of many programs: no descriptor, no zombie', async () => {
  const run = async (script: string) => {
    await using child = sh(script)
    await child.stdout.next()
  }
  await run('echo a')
  await sleep(1000) // who keeps the programs leaves half a second after the last
  const before = readdirSync('/proc/self/fd').length
  for (let round = 0; round < 20; round++) await run(round % 2 ? 'echo a' : 'echo a; sleep 1000')
  await until(() => readdirSync('/proc/self/fd').length <= before)
})
