import { Worker, type WorkerOptions } from 'node:worker_threads'

/**
 * A thread of ours, which runs a file of ours. What this process was told to run is nothing to it: with `--input-type`, as of `node -e`, Node refuses every file. Neither is the environment, which
 * may say the same (NODE_OPTIONS).
 */
export function startThread(url: URL, options: Omit<WorkerOptions, 'env' | 'execArgv'> = {}): Worker {
  return new Worker(url, { ...options, env: {}, execArgv: [] })
}
