// Generated from openapi/openapi.json by `npm run generate:api`; do not edit.

export interface paths {
    "/v1/adapters": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string;
                    limit?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description AdapterPage */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AdapterPage"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    name: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Adapter */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Adapter"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/backbone": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Backbone */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Backbone"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/completions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["CompletionRequest"];
                };
            };
            responses: {
                /** @description Completion */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Completion"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string;
                    kind?: string;
                    limit?: string;
                    state?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description JobPage */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["JobPage"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Job */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Job"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Job */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Job"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Job */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Job"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/predictions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["PredictionRequest"];
                };
            };
            responses: {
                /** @description PredictionResponse */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["PredictionResponse"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/searches": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["SearchRequest"];
                };
            };
            responses: {
                /** @description Job */
                202: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Job"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string;
                    limit?: string;
                    source_task?: string;
                    space?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description StructureSummaryPage */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["StructureSummaryPage"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            responses: {
                /** @description Structure */
                201: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Structure"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Structure */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Structure"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string;
                    limit?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description TaskPage */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskPage"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    name: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description Task */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Task"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/transfers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string;
                    limit?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description TransferPage */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TransferPage"];
                    };
                };
                /** @description ErrorBody */
                default: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ErrorBody"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Adapter: {
            aliases: {
                [key: string]: string;
            };
            /** Format: date-time */
            created: string;
            generations: components["schemas"]["Generation"][];
            name: string;
        };
        AdapterPage: {
            data: components["schemas"]["Adapter"][];
            next_cursor?: string | null;
        };
        AdapterPredictions: {
            adapter: string;
            adapter_generation: string;
            predictions: components["schemas"]["Prediction"][];
            task?: string | null;
        };
        Backbone: {
            device: string;
            digest: string;
            name: string;
            /** Format: int64 */
            parameters: number;
            shape: components["schemas"]["Shape"];
        };
        Choice: {
            finish_reason?: string | null;
            /** Format: int64 */
            index: number;
            text: string;
        };
        Completion: {
            adapter_generation?: string | null;
            choices: components["schemas"]["Choice"][];
            /** Format: int64 */
            created: number;
            id: string;
            model: string;
            object: string;
            usage?: null | components["schemas"]["Usage"];
        };
        CompletionRequest: {
            /** Format: int64 */
            max_tokens?: number;
            model: string;
            prompt: string;
            stream?: boolean;
        };
        DeltaModule: {
            /** Format: double */
            alpha?: number | null;
            /** Format: int64 */
            bottleneck?: number | null;
            kind: components["schemas"]["KindName"];
            position: string;
            /** Format: int64 */
            rank?: number | null;
        };
        ErrorBody: {
            error: {
                code: string;
                message: string;
                param?: string | null;
                request_id?: string | null;
                type?: string;
            };
        };
        Generation: {
            backbone_digest: string;
            /** Format: date-time */
            created: string;
            digest: string;
            job?: string | null;
            /** Format: int64 */
            parameters: number;
            score?: null | components["schemas"]["Score"];
            structure: string;
            task?: null | components["schemas"]["TaskRef"];
            weights: string;
            /** Format: int64 */
            weights_bytes?: number;
        };
        Job: {
            /** Format: date-time */
            created: string;
            error?: null | components["schemas"]["JobError"];
            /** Format: date-time */
            finished?: string | null;
            id: string;
            kind: components["schemas"]["JobKind"];
            progress?: null | components["schemas"]["Progress"];
            request: Record<string, never>;
            result?: Record<string, never> | null;
            /** Format: date-time */
            started?: string | null;
            state: components["schemas"]["JobState"];
        };
        JobError: {
            code: string;
            message: string;
        };
        /** @enum {string} */
        JobKind: "search" | "retrain" | "transfer" | "evaluation";
        JobPage: {
            data: components["schemas"]["Job"][];
            next_cursor?: string | null;
        };
        /** @enum {string} */
        JobState: "queued" | "running" | "succeeded" | "failed" | "cancelled";
        /** @enum {string} */
        KindName: "lora" | "lnfit" | "bitfit" | "low_rank_adapter" | "adapter" | "parallel_adapter";
        ModulePlace: {
            kind: components["schemas"]["KindName"];
            position: string;
        };
        ModuleProbability: {
            module: components["schemas"]["DeltaModule"];
            /** Format: double */
            p: number;
            /** Format: int64 */
            parameters: number;
        };
        /** @enum {string} */
        Origin: "search" | "upload" | "random" | "manual" | "average";
        Prediction: {
            label: string;
            scores: {
                [key: string]: number;
            };
        };
        PredictionRequest: {
            adapter?: string | null;
            adapters?: string[] | null;
            inputs: {
                [key: string]: string;
            }[];
        };
        PredictionResponse: {
            data: components["schemas"]["AdapterPredictions"][];
        };
        Progress: {
            /** Format: int64 */
            budget?: number | null;
            /** Format: double */
            dev_score?: number | null;
            /** Format: double */
            eta_seconds?: number | null;
            /** Format: double */
            expected_parameters?: number | null;
            /** Format: double */
            loss_alpha?: number | null;
            /** Format: double */
            loss_delta?: number | null;
            metric?: string | null;
            modules?: components["schemas"]["ModulePlace"][] | null;
            phase: string;
            probabilities?: number[] | null;
            /** Format: double */
            seconds?: number | null;
            /** Format: int64 */
            seed?: number | null;
            /** Format: int64 */
            step?: number | null;
            /** Format: int64 */
            total_steps?: number | null;
            /** Format: double */
            zeta?: number | null;
        };
        Provenance: {
            backbone_digest?: string | null;
            /** Format: int64 */
            budget?: number | null;
            /** Format: date-time */
            created: string;
            job?: string | null;
            origin: components["schemas"]["Origin"];
            parents?: string[];
            probabilities?: components["schemas"]["ModuleProbability"][];
            seeds?: number[];
            settings?: Record<string, never>;
            source_task?: string | null;
            space?: string | null;
            task_digest?: string | null;
        };
        Rows: {
            /** Format: int64 */
            dev: number;
            /** Format: int64 */
            test: number;
            /** Format: int64 */
            train: number;
        };
        Score: {
            metric: string;
            split: string;
            /** Format: double */
            value: number;
        };
        SearchRequest: {
            adapter?: string | null;
            /** Format: int64 */
            batch_size?: number;
            budget: string;
            /** Format: int64 */
            epochs?: number | null;
            /** Format: int64 */
            evaluations?: number;
            /** Format: double */
            learning_rate?: number;
            /** Format: int64 */
            max_source_tokens?: number;
            /** @enum {string} */
            order?: "first" | "second";
            retrain?: boolean;
            seeds?: number[];
            /** @enum {string} */
            selection?: "exact" | "greedy";
            space?: string;
            /** Format: int64 */
            steps?: number | null;
            /** Format: double */
            structural_learning_rate?: number;
            task: string;
            /** Format: int64 */
            train_rows?: number | null;
        };
        Shape: {
            /** Format: int64 */
            d_ff: number;
            /** Format: int64 */
            d_kv: number;
            /** Format: int64 */
            d_model: number;
            /** Format: int64 */
            decoder_layers: number;
            /** Format: int64 */
            encoder_layers: number;
            family: string;
            gated: boolean;
            /** Format: int64 */
            num_heads: number;
            /** Format: int64 */
            vocab_size: number;
        };
        Structure: {
            format: string;
            id?: string;
            modules: components["schemas"]["DeltaModule"][];
            provenance?: components["schemas"]["Provenance"][];
            shape: components["schemas"]["Shape"];
        };
        StructureSummary: {
            /** Format: int64 */
            budget?: number | null;
            by_kind: {
                [key: string]: components["schemas"]["Total"];
            };
            /** Format: date-time */
            created: string;
            id: string;
            /** Format: int64 */
            modules: number;
            origin: components["schemas"]["Origin"];
            /** Format: int64 */
            parameters: number;
            shape: components["schemas"]["Shape"];
            source_tasks: string[];
            spaces: string[];
        };
        StructureSummaryPage: {
            data: components["schemas"]["StructureSummary"][];
            next_cursor?: string | null;
        };
        Task: {
            builtin: boolean;
            /** Format: date-time */
            created: string;
            definition: Record<string, never>;
            digest: string;
            name: string;
            rows: components["schemas"]["Rows"];
        };
        TaskPage: {
            data: components["schemas"]["Task"][];
            next_cursor?: string | null;
        };
        TaskRef: {
            digest: string;
            name: string;
        };
        Total: {
            /** Format: int64 */
            modules: number;
            /** Format: int64 */
            parameters: number;
        };
        Transfer: {
            adapter?: string | null;
            job?: string | null;
            metric: string;
            /** Format: int64 */
            parameters: number;
            /** Format: double */
            score_mean: number;
            /** Format: double */
            score_std?: number | null;
            seeds: number[];
            source_structure: string;
            source_task: string | null;
            target_task: string;
        };
        TransferPage: {
            data: components["schemas"]["Transfer"][];
            next_cursor?: string | null;
        };
        Usage: {
            /** Format: int64 */
            completion_tokens: number;
            /** Format: int64 */
            prompt_tokens: number;
            /** Format: int64 */
            total_tokens: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
